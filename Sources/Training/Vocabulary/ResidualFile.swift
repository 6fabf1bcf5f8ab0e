import Checkpoints
import Communication
import LanguageModel
import Layers
import Platform

/// `exchange.safetensors` of a checkpoint, on rank 0.
struct ResidualFile {
  let file: SafetensorsFile
  let counters: CheckpointState
  /// The placement of the run that saved it.
  let layout: VocabularyLayout
  let model: LanguageModel

  /// The file of a checkpoint; nil where it has none.
  init?(_ checkpoint: Checkpoint, _ counters: CheckpointState, model: LanguageModel) throws {
    guard checkpoint.contains(.exchange) else { return nil }
    file = try checkpoint.tensors(.exchange)
    self.counters = counters
    self.model = model
    layout = try VocabularyLayout(saved: counters)
  }

  /// The elements of the flat gradient that all ranks of that run exchanged.
  private var commonRange: Range<Int> {
    layout.parameterShard(of: layout.owners(ofShard: 0)[0], model).common
  }

  func values(_ name: String) throws -> [Float] { try file.withFloats(of: name) { Array($0) } }

  func contains(_ name: String) -> Bool { file.contains(name) }

  /// The residuals of the exchange of `common`, the elements that all ranks have: as they are where these are the same as in
  /// the run that saved them, else the pending correction of the mean gradient, as the residuals of one rank.
  func residuals(of common: Range<Int>) throws -> SavedResiduals? {
    guard common == commonRange else { return try correction(common) }
    guard file.contains(ResidualPart.owner.tensorName) else { return nil }
    return SavedResiduals(rankCount: counters.rankCount, nodeOfRank: counters.nodeOfRank) { part in
      try values(part.tensorName)
    }
  }

  private func correction(_ range: Range<Int>) throws -> SavedResiduals {
    let all = try correction()
    return SavedResiduals(rankCount: 1) { part in
      part == .owner ? Array(all[range]) : [Float](repeating: 0, count: range.count)
    }
  }

  /// One array of the pending correction of the mean gradient, of elements side by side.
  func correction(_ part: ResidualPart, elementsOf ranges: [Range<Int>]) throws -> [Float] {
    guard part == .owner else { return [Float](repeating: 0, count: ranges.reduce(0) { $0 + $1.count }) }
    let all = try correction()
    return ranges.flatMap { all[$0] }
  }

  /// The pending correction of the mean gradient, one element for each of the flat gradient.
  private func correction() throws -> [Float] {
    var all = [Float](repeating: 0, count: model.parameters.elementCount)
    try add(
      senderCount: counters.rankCount, elements: [commonRange], to: &all, name: { $0.tensorName })
    for index in layout.exchangedShards {
      let owned = layout.parameterShard(of: layout.owners(ofShard: index)[0], model).owned
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
