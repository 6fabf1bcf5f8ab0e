import Communication
import TestSupport

/// Corrupts what this rank receives, when a scenario asks for it.
let corruption = Corruption()

/// Every operation of MPI ranks finds a flipped bit, and its error names operation, ranks and step.
func corruptedMessagesAreFound(_ ranks: Ranks) throws {
  let control = ranks.world.control
  control.liveness?.activity.note("step 7: evaluating")
  for operation in CollectiveOperation.all {
    for kind in operation.kinds {
      try ranks.thread.run {
        // After a failure a communicator is not used any more.
        let subset = try control.split(color: 0)
        corruption.aim(at: kind)
        defer { corruption.aim(at: nil) }
        var error = "none"
        do { try operation.run(subset) } catch let failure { error = "\(failure)" }
        guard let place = corruption.corrupted else { return try claim(error == "none", "\(kind): \(error)") }
        let expected =
          "message at '\(operation.name)' from \(subset.label(of: place.sender)) to "
          + "\(subset.label(of: place.receiver)), step 7: evaluating: expected "
        try claim(error.contains(expected), "\(kind): expected '\(expected)', found '\(error)'")
        print("found: \(kind)")
      }
    }
  }
}
