import Foundation

/// Runs `body` as one rank of a job and ends the process with the status it returns.
///
/// An error ends the job on all ranks with status 1. If all ranks throw the same, rank 0 alone prints it;
/// otherwise each that can prints `rank r:` and its own, for the others would wait for a rank that is gone.
///
/// With `startSeconds` ranks wait no longer for each other at any point of the start, which the program ends with
/// `Liveness.liftStartLimit`; without, only the start of MPI itself is limited.
public func onRanks(startSeconds: Double? = nil, _ body: (MPIWorld) throws -> Int32) -> Never {
  let world: MPIWorld
  do {
    world = try MPIWorld(
      startSeconds: startSeconds ?? MPIWorld.defaultStartSeconds, limitsStart: startSeconds != nil)
  } catch {
    printLine("\(error)")
    exit(1)
  }
  do {
    let status = try body(world)
    try world.finish()
    exit(status)
  } catch {
    world.end(because: "\(error)")
  }
}

extension MPIWorld {
  /// Seconds a rank that fails waits for the others to fail alike.
  private static let agreementSeconds = 1.0
  /// Seconds the other ranks leave rank 0 to print what all have found.
  private static let printingSeconds: UInt32 = 2

  fileprivate func end(because message: String) -> Never {
    if control.rankCount == 1 {
      printLine(message)
      try? finish()
    } else if !allFail(with: message) {
      control.abort(message)
    } else if control.rank == 0 {
      printLine(message)
      control.end()
    } else {
      sleep(Self.printingSeconds)
      control.end()
    }
    exit(1)
  }

  /// Whether all ranks come here within a short time, with the same message.
  private func allFail(with message: String) -> Bool {
    let limits = StallLimits(
      warnSeconds: .infinity, abortSeconds: Self.agreementSeconds, warn: { _ in })
    guard let messages = try? failures.allGather("failure", Array(message.utf8), limits: limits) else {
      return false
    }
    return messages.allSatisfy { $0.elementsEqual(message.utf8) }
  }
}
