import Checkpoints
import Communication
import Foundation
import LanguageModel
import Layers
import Tensors

extension Replica {
  /// Brings all ranks to the state of a checkpoint, which rank 0 alone reads;
  /// all ranks call it, the others with nil.
  ///
  /// With another number of ranks the lanes' state is shared out anew, and what error feedback owes
  /// the mean gradient is kept.
  func restore(from checkpoint: Checkpoint?) throws {
    let encoded: [UInt8] = try ranks.together("read the checkpoint") {
      guard let checkpoint else { return [] }
      try load(checkpoint)
      return try checkpoint.state.encoded()
    }
    let shared = try ranks.control.broadcast("checkpoint's state", encoded, from: Ranks.coordinator)
    let saved = try CheckpointState(encoded: shared, path: "rank 0's checkpoint")
    try spreadBuffers()
    adoptCodec(of: saved)
    try restoreCarriedState(checkpoint)
    try restoreResiduals(checkpoint, saved: saved)
    let current = state
    state = saved
    state.adoptSettings(of: current)
    if codecIsOpen || exchange.layout.nodeCount == 1 { state.codecDecisions += firstDecisions(after: saved) }
  }

  private func load(_ checkpoint: Checkpoint) throws {
    try parameters.load(from: checkpoint.tensors(.model))
    let file = try checkpoint.tensors(.optimizer)
    for moment in optimizer.moments { try moment.buffer.load(from: file, prefix: "\(moment.name).") }
  }

  /// Gives every rank the rows of its lanes.
  private func restoreCarriedState(_ checkpoint: Checkpoint?) throws {
    let laneCount = configuration.training.lanes
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let carried = CarriedState(like: pass.carriedState, laneCount: laneCount, in: arena)
    let own = share.lanes(of: ranks.rank)
    for part in carried.parts {
      let (name, all) = (part.name, part.values)
      try ranks.together("read the carried state") {
        guard let file = try checkpoint?.tensors(.carry) else { return }
        guard try file.shape(of: name) == [laneCount, all.columnCount] else {
          throw TrainingError(
            "\(file.path): expected \(name) of shape \([laneCount, all.columnCount]), "
              + "found \(try file.shape(of: name))")
        }
        try file.copy(name, into: UnsafeMutableBufferPointer(start: all.data, count: all.count))
      }
      try ranks.control.broadcast("carried state", over: all.bytes, from: Ranks.coordinator)
    }
    pass.carriedState.copy(from: carried.lanes(own))
  }

  private func restoreResiduals(_ checkpoint: Checkpoint?, saved state: CheckpointState) throws {
    var saved: SavedResiduals?
    if let checkpoint, checkpoint.contains(.exchange) {
      let file = try checkpoint.tensors(.exchange)
      saved = SavedResiduals(rankCount: state.rankCount, nodeOfRank: state.nodeOfRank) { part in
        try file.withFloats(of: part.tensorName) { Array($0) }
      }
    }
    try exchange.restoreResiduals(saved, over: ranks.control, from: Ranks.coordinator)
  }
}

extension CheckpointState {
  /// What a process that goes on may have changed, and what of it makes its numbers differ in the last bits.
  func differencesInBits(from earlier: CheckpointState) -> [String] {
    let pairs = [
      ("ranks", "\(earlier.rankCount)", "\(rankCount)"),
      ("ranks of each node", "\(earlier.nodeSizes)", "\(nodeSizes)"),
      (
        "training ranks", "\(earlier.trainingRankCount ?? earlier.rankCount)",
        "\(trainingRankCount ?? rankCount)"
      ),
      ("threads", "\(earlier.threadCount)", "\(threadCount)"),
      ("engine", earlier.engine, engine), ("CPU level", earlier.cpuLevel, cpuLevel),
    ]
    .filter { $0.0 != "training ranks" || earlier.rankCount == rankCount }
    return pairs.filter { $0.1 != $0.2 }.map { "\($0.0) \($0.1) → \($0.2)" }
  }

  /// How many ranks each node has.
  private var nodeSizes: [Int] {
    NodeLayout(nodeOfRank: nodeOfRank ?? Array(0..<rankCount)).nodes.map(\.count)
  }

  /// Takes over what describes the process and not the run.
  mutating func adoptSettings(of current: CheckpointState) {
    rankCount = current.rankCount
    nodeOfRank = current.nodeOfRank
    trainingRankCount = current.trainingRankCount
    threadCount = current.threadCount
    engine = current.engine
    cpuLevel = current.cpuLevel
    precision = current.precision
    programVersion = current.programVersion
    configuration = current.configuration
    files = [:]
  }
}
