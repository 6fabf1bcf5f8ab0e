import Checkpoints
import Communication
import Foundation
import LanguageModel
import Layers
import Platform
import Tensors

/// Residuals of all exchanges of a run, on their way to and from `exchange.safetensors`.
///
/// The exchange of all ranks has `sender.NNNN` for each rank, and `owner`. Where groups exchange shards of the vocabulary, each
/// shard has `shard.NNNN.sender.NNNN` for each group, and `shard.NNNN.owner`, over the elements of the shard side by side.
extension TrainingState {
  /// Copies the residuals of all ranks into rank 0's snapshot; all ranks call it.
  func gatherResiduals(into snapshot: Snapshot?) throws {
    try exchange.gatherResiduals(over: ranks.control, to: Ranks.coordinator) { part, values in
      snapshot?.add(part.tensorName, values)
    }
    guard layout.exchangesShards else { return }
    let flags = try ranks.control.allGather(
      "residuals of shards", [average?.exchange.residualsAreZero == false ? 1 : 0])
    for index in 0..<layout.groupSize {
      let owners = layout.owners(ofShard: index)
      guard flags[owners[0]] == [1] else { continue }
      if owners.contains(ranks.rank) {
        try average?.exchange.gatherResiduals(over: average?.communicator ?? ranks.control, to: 0) {
          part, values in
          let bytes = UnsafeMutableRawBufferPointer(mutating: UnsafeRawBufferPointer(values))
          if let snapshot {
            snapshot.add(part.tensorName(ofShard: index), values)
          } else if ranks.rank == owners[0] {
            try ranks.control.move(
              part.tensorName(ofShard: index), bytes, from: owners[0], to: Ranks.coordinator)
          }
        }
      } else if let snapshot {
        var values = [Float](repeating: 0, count: shardElementCount(index))
        for part in ResidualPart.all(senderCount: owners.count) {
          let name = part.tensorName(ofShard: index)
          try values.withUnsafeMutableBytes {
            try ranks.control.move(name, $0, from: owners[0], to: Ranks.coordinator)
          }
          values.withUnsafeBufferPointer { snapshot.add(name, $0) }
        }
      }
    }
  }

  /// Distributes the residuals of a checkpoint, which rank 0 alone reads; all ranks call it.
  ///
  /// Where ranks, nodes or the placement of the vocabulary differ from those of the run that saved them, the correction
  /// pending for the mean gradient is kept: Σ sender residuals ÷ senders + owner residuals.
  func restoreResiduals(_ checkpoint: Checkpoint?, saved counters: CheckpointState) throws {
    let savedLayout = try VocabularyLayout(saved: counters)
    let isSamePlacement =
      savedLayout == layout && counters.rankCount == ranks.rankCount
      && NodeLayout(nodeOfRank: counters.nodeOfRank ?? Array(0..<counters.rankCount)) == exchange.layout
    var file: ResidualFile?
    if let checkpoint, checkpoint.contains(.exchange) {
      file = ResidualFile(
        file: try checkpoint.tensors(.exchange), counters: counters, layout: savedLayout, model: model)
    }
    try exchange.restoreResiduals(
      savedLayout.isSharded == layout.isSharded ? file?.common : try file?.correction(shard.common),
      over: ranks.control, from: Ranks.coordinator)
    if layout.exchangesShards { try restoreShardResiduals(file, isSamePlacement: isSamePlacement) }
  }

  /// Whether a checkpoint, which rank 0 alone has, holds residuals of the vocabulary's shards that no exchange here takes.
  func discardsResiduals(of checkpoint: Checkpoint) throws -> Bool {
    guard layout.isSharded, !layout.exchangesShards, checkpoint.contains(.exchange) else { return false }
    let file = try checkpoint.tensors(.exchange)
    return file.names.contains { $0.hasPrefix(ResidualPart.shardPrefix) }
  }

  private func restoreShardResiduals(_ file: ResidualFile?, isSamePlacement: Bool) throws {
    let ownFlags = try (0..<layout.groupSize).map { index -> UInt8 in
      guard let file, shardElementCount(index) > 0 else { return 0 }
      guard isSamePlacement else { return 1 }
      return try file.containsShard(index) ? 1 : 0
    }
    let flags = try ranks.control.broadcast("residuals of shards", ownFlags, from: Ranks.coordinator)
    for index in 0..<layout.groupSize where shardElementCount(index) > 0 {
      let owners = layout.owners(ofShard: index)
      let isRoot = ranks.rank == owners[0]
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
          try ranks.control.move(
            part.tensorName(ofShard: index), $0, from: Ranks.coordinator, to: owners[0])
        }
      }
      if let average, owners.contains(ranks.rank) {
        let saved = SavedResiduals(
          rankCount: isSamePlacement ? owners.count : 1,
          nodeOfRank: isSamePlacement ? average.exchange.layout.nodeOfRank : nil
        ) { [ranks, count = shardElementCount(index)] part in
          guard !ranks.isCoordinator else { return try values(part) }
          var received = [Float](repeating: 0, count: count)
          try move(part, &received)
          return received
        }
        try average.exchange.restoreResiduals(
          isRoot && flags[index] == 1 ? saved : nil, over: average.communicator, from: 0)
      } else if ranks.isCoordinator, flags[index] == 1 {
        for part in parts {
          var sent = try values(part)
          try move(part, &sent)
        }
      }
    }
  }

  private func shardElementCount(_ index: Int) -> Int {
    layout.parameterShard(of: layout.owners(ofShard: index)[0], model).ownedCount
  }
}

/// `exchange.safetensors` of a checkpoint, on rank 0.
private struct ResidualFile {
  let file: SafetensorsFile
  let counters: CheckpointState
  /// The placement of the run that saved it.
  let layout: VocabularyLayout
  let model: LanguageModel

  /// The residuals of the exchange of all ranks, as they are.
  var common: SavedResiduals? {
    guard file.contains(ResidualPart.owner.tensorName) else { return nil }
    return SavedResiduals(rankCount: counters.rankCount, nodeOfRank: counters.nodeOfRank) { part in
      try values(part.tensorName)
    }
  }

  func values(_ name: String) throws -> [Float] { try file.withFloats(of: name) { Array($0) } }

  func containsShard(_ index: Int) throws -> Bool {
    file.contains(ResidualPart.owner.tensorName(ofShard: index))
  }

  /// The pending correction of the mean gradient in a range of the flat gradient, as the residuals of one rank.
  func correction(_ range: Range<Int>) throws -> SavedResiduals {
    let all = try correction()
    return SavedResiduals(rankCount: 1) { part in
      part == .owner ? Array(all[range]) : [Float](repeating: 0, count: range.count)
    }
  }

  /// One array of the same, of elements side by side.
  func correction(_ part: ResidualPart, elementsOf ranges: [Range<Int>]) throws -> [Float] {
    guard part == .owner else { return [Float](repeating: 0, count: ranges.reduce(0) { $0 + $1.count }) }
    let all = try correction()
    return ranges.flatMap { all[$0] }
  }

  /// The pending correction of the mean gradient, one element for each of the flat gradient.
  private func correction() throws -> [Float] {
    var all = [Float](repeating: 0, count: model.parameters.elementCount)
    let firstRank = layout.owners(ofShard: 0)[0]
    let commonRange = layout.parameterShard(of: firstRank, model).common
    try add(
      senderCount: counters.rankCount, elements: [commonRange], to: &all, name: { $0.tensorName })
    for index in 0..<layout.groupSize where layout.exchangesShards {
      let owned = layout.parameterShard(of: firstRank + index, model).owned
      try add(
        senderCount: layout.groupCount, elements: owned, to: &all,
        name: { $0.tensorName(ofShard: index) })
    }
    return all
  }

  private func add(
    senderCount: Int, elements: [Range<Int>], to all: inout [Float], name: (ResidualPart) -> String
  ) throws {
    guard file.contains(name(.owner)) else { return }
    for part in ResidualPart.all(senderCount: senderCount) {
      let divisor: Float = part == .owner ? 1 : Float(senderCount)
      var values = try values(name(part))[...]
      for place in elements.joined() {
        guard let value = values.popFirst() else {
          throw MilmError(
            "\(file.path): expected \(elements.reduce(0) { $0 + $1.count }) values in \(name(part)), found fewer"
          )
        }
        all[place] += value / divisor
      }
    }
  }
}

extension VocabularyLayout {
  /// The placement of the run that saved a checkpoint; its group size is there where `auto` has chosen it.
  init(saved counters: CheckpointState) throws {
    let count = counters.trainingRankCount ?? counters.rankCount
    let trainingRanks = counters.rankCount - count..<counters.rankCount
    let configuration = try RunConfiguration(
      yaml: counters.configuration, source: "the checkpoint's configuration")
    try self.init(
      configuration.exchange.vocabulary, frozen: counters.vocabularyGroupSize, trainingRanks: trainingRanks)
  }
}

extension ResidualPart {
  /// All arrays of an exchange, in the order in which they are saved and read.
  static func all(senderCount: Int) -> [ResidualPart] {
    (0..<senderCount).map { .sender(rank: $0) } + [.owner]
  }

  /// The name in `exchange.safetensors`.
  var tensorName: String {
    switch self {
    case .sender(let rank): "sender." + String(format: "%04d", rank)
    case .owner: "owner"
    }
  }

  /// The name of an array of a shard's exchange, whose ranks are numbered by groups.
  func tensorName(ofShard index: Int) -> String {
    Self.shardPrefix + String(format: "%04d", index) + "." + tensorName
  }

  /// Prefix of the names of all arrays of shards.
  static let shardPrefix = "shard."
}
