import Communication
import Layers
import Tensors

/// The mean over groups of the gradient of one shard: an all-reduce among the ranks that have the shard.
///
/// The shard's rows lie in separate blocks of the flat gradient, so they are packed side by side, exchanged, and unpacked.
final class ShardAverage {
  /// The exchange of the packed gradient, with its residuals.
  let exchange: GradientExchange
  /// The ranks that have the shard, as a communicator; used on the communication thread.
  let communicator: any Communicator
  private let shard: ParameterShard
  private let ranges: [ExchangeRange]
  private let packed: Matrix
  private let arena: Arena

  /// The average of a rank's shard; nil where no other rank has the shard, or where it is empty.
  ///
  /// All ranks of `all` call it. The exchange is configured like theirs.
  init?(
    _ shard: ParameterShard, layout: VocabularyLayout, list: ParameterList, all: any Communicator,
    thread: CommunicationThread, configuration: ExchangeConfiguration, in arena: Arena
  ) throws {
    guard !layout.exchangedShards.isEmpty else { return nil }
    let communicator = try thread.run { try all.split(color: Self.color(of: all.rank, layout)) }
    guard shard.ownedCount > 0 else { return nil }
    self.shard = shard
    self.communicator = communicator
    self.arena = arena
    packed = arena.matrix(rowCount: 1, columnCount: shard.ownedCount)
    ranges = Self.ranges(shard, list)
    exchange = try GradientExchange(
      communicator: communicator, thread: thread, elementCount: shard.ownedCount, ranges: ranges,
      configuration: configuration, in: arena)
  }

  /// The color by which ranks are split into the owners of each shard; ranks without lanes are in none of the groups.
  static func color(of rank: Int, _ layout: VocabularyLayout) -> Int {
    layout.shardIndex(of: rank) ?? layout.groupSize
  }

  /// The ranges of the packed gradient.
  private static func ranges(_ shard: ParameterShard, _ list: ParameterList) -> [ExchangeRange] {
    var end = 0
    return list.parameters.compactMap { parameter -> ExchangeRange? in
      let count = shard.ownedCount(of: parameter)
      guard count > 0 else { return nil }
      defer { end += count }
      // A matrix's rows differ in scale.
      let blockLength = parameter.shape.count > 1 ? parameter.columnCount : 256
      return ExchangeRange(range: end..<end + count, blockLength: blockLength, name: parameter.name)
    }
  }

  func begin(step: Int, flushing: Bool, limits: StallLimits?, isTraced: Bool) {
    exchange.isTraced = isTraced
    exchange.begin(step: step, flushing: flushing, gradient: packed.data, limits: limits)
  }

  /// Submits the shard's gradient, which holds this group's mean.
  func submit(_ gradients: ParameterBuffer) throws {
    gradients.packShard(shard, to: packed.data)
    for range in ranges { try exchange.submit(range: range.range) }
  }

  /// Waits for the exchange; the shard's gradient is then the mean over all groups.
  func finish(_ gradients: ParameterBuffer) throws -> ExchangeReport {
    let report = try exchange.finish()
    gradients.unpackShard(shard, from: packed.data)
    return report
  }
}
