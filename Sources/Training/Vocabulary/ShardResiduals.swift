import Checkpoints
import Communication
import LanguageModel
import Layers
import Platform

/// The residuals of the exchanges of the vocabulary's shards, on their way to and from `exchange.safetensors`.
///
/// Each shard that several groups exchange has `shard.NNNN.sender.NNNN` for each group, and `shard.NNNN.owner`, over its
/// elements side by side. A matrix that is replicated, or that one group has, has none.
struct ShardResiduals {
  private let layout: VocabularyLayout
  private let model: LanguageModel
  /// The mean of this rank's shard; nil where no other rank has it.
  private let average: ShardAverage?

  init(_ layout: VocabularyLayout, average: ShardAverage?, model: LanguageModel) {
    self.layout = layout
    self.average = average
    self.model = model
  }

  /// The bytes of this rank's.
  var byteCount: Int { average?.exchange.residualByteCount ?? 0 }

  /// Passes those of all ranks to `save` on rank 0; all ranks call it.
  func gather(
    over control: any Communicator, save: (_ name: String, UnsafeBufferPointer<Float>) throws -> Void
  ) throws {
    guard !layout.exchangedShards.isEmpty else { return }
    let isCoordinator = control.rank == Ranks.coordinator
    let flags = try control.allGather(
      "residuals of shards", [average?.exchange.residualsAreZero == false ? 1 : 0])
    for index in layout.exchangedShards {
      let owners = layout.owners(ofShard: index)
      guard flags[owners[0]] == [1] else { continue }
      if let average, owners.contains(control.rank) {
        try average.exchange.gatherResiduals(over: average.communicator, to: 0) { part, values in
          let name = part.tensorName(ofShard: index)
          guard !isCoordinator else { return try save(name, values) }
          let bytes = UnsafeMutableRawBufferPointer(mutating: UnsafeRawBufferPointer(values))
          try control.move(name, bytes, from: owners[0], to: Ranks.coordinator)
        }
      } else if isCoordinator {
        var values = [Float](repeating: 0, count: elementCount(index))
        for part in ResidualPart.all(senderCount: owners.count) {
          let name = part.tensorName(ofShard: index)
          try values.withUnsafeMutableBytes {
            try control.move(name, $0, from: owners[0], to: Ranks.coordinator)
          }
          try values.withUnsafeBufferPointer { try save(name, $0) }
        }
      }
    }
  }

  /// Distributes those of a file, which rank 0 alone has; all ranks call it.
  ///
  /// Where ranks, nodes or shards differ from those of the run that saved them, the correction pending for the mean
  /// gradient is kept.
  func restore(_ file: ResidualFile?, isSamePlacement: Bool, over control: any Communicator) throws {
    let shards = layout.exchangedShards
    guard !shards.isEmpty else { return }
    let isCoordinator = control.rank == Ranks.coordinator
    let ownFlags = shards.map { index -> UInt8 in
      guard let file, elementCount(index) > 0 else { return 0 }
      guard isSamePlacement else { return 1 }
      return file.contains(ResidualPart.owner.tensorName(ofShard: index)) ? 1 : 0
    }
    let flags = try control.broadcast("residuals of shards", ownFlags, from: Ranks.coordinator)
    for index in shards where elementCount(index) > 0 {
      let owners = layout.owners(ofShard: index)
      let isRoot = control.rank == owners[0]
      let parts = ResidualPart.all(senderCount: isSamePlacement ? owners.count : 1)
      /// One array, on rank 0.
      func values(_ part: ResidualPart) throws -> [Float] {
        guard let file else { return [] }
        if isSamePlacement { return try file.values(part.tensorName(ofShard: index)) }
        return try file.correction(part, elementsOf: layout.parameterShard(of: owners[0], model).owned)
      }
      /// Copies one array from rank 0 to the first owner; these two call it in the order of `parts`.
      func move(_ part: ResidualPart, _ values: inout [Float]) throws {
        try values.withUnsafeMutableBytes {
          try control.move(part.tensorName(ofShard: index), $0, from: Ranks.coordinator, to: owners[0])
        }
      }
      if let average, owners.contains(control.rank) {
        let saved = SavedResiduals(
          rankCount: isSamePlacement ? owners.count : 1,
          nodeOfRank: isSamePlacement ? average.exchange.layout.nodeOfRank : nil
        ) { [count = elementCount(index)] part in
          guard !isCoordinator else { return try values(part) }
          var received = [Float](repeating: 0, count: count)
          try move(part, &received)
          return received
        }
        try average.exchange.restoreResiduals(
          isRoot && flags[index] == 1 ? saved : nil, over: average.communicator, from: 0)
      } else if isCoordinator, flags[index] == 1 {
        for part in parts {
          var sent = try values(part)
          try move(part, &sent)
        }
      }
    }
  }

  /// Whether a checkpoint, which rank 0 alone has, holds residuals of shards that no exchange here takes.
  func areDiscarded(of checkpoint: Checkpoint) throws -> Bool {
    guard layout.isSharded, layout.exchangedShards.isEmpty, checkpoint.contains(.exchange) else {
      return false
    }
    let file = try checkpoint.tensors(.exchange)
    return file.names.contains { $0.hasPrefix(ResidualPart.shardPrefix) }
  }

  private func elementCount(_ index: Int) -> Int {
    layout.parameterShard(of: layout.owners(ofShard: index)[0], model).ownedCount
  }
}
