import Checkpoints
import Communication
import Foundation
import LanguageModel
import Layers
import Platform
import Tensors

/// All that a checkpoint holds, as this rank has it: parameters, moments of the optimizer, carried state of its lanes,
/// residuals of the exchange, and counters.
///
/// At the end of every step counters are equal on all ranks, and so are parameters and moments that are not sharded.
package final class TrainingState {
  package let configuration: RunConfiguration
  package let ranks: Ranks
  private let text: TextIdentity
  package let engine: ComputeEngine
  package let model: LanguageModel
  package let parameters: ParameterBuffer
  /// The elements of parameters, gradients and moments that this rank keeps up to date.
  package let shard: ParameterShard
  /// The moments, and the update.
  package let optimizer: Optimizer
  /// The residuals, and the exchange of the gradient of what is not sharded.
  package let exchange: GradientExchange
  /// Which rank has which rows of the tied matrix.
  package let layout: VocabularyLayout
  /// Look-up, softmax and update of the tied matrix, replicated or sharded.
  let placement: any VocabularyPlacement
  /// The carried state, and the passes through segments.
  package let pass: SegmentPass
  /// Which rank has which lanes.
  let laneLayout: LaneLayout
  package var counters: CheckpointState
  /// All of its memory but the residuals.
  private let arena: Arena
  /// How many codec decisions in `counters` were made for other ranks or nodes.
  private var outdatedDecisionCount = 0

  /// The state before the first step; throws where the lanes or the vocabulary cannot be distributed over the ranks.
  ///
  /// `vocabularyGroupSize` is what a run that is resumed has decided.
  package init(
    _ configuration: RunConfiguration, text: TextIdentity, ranks: Ranks,
    engine: ComputeEngine, thread: CommunicationThread, vocabularyGroupSize: Int? = nil,
    in arena: Arena = Arena()
  ) throws {
    self.arena = arena
    self.configuration = configuration
    self.ranks = ranks
    self.text = text
    self.engine = engine
    model = LanguageModel(configuration.model, vocabularySize: text.vocabularySize)
    parameters = ParameterBuffer(model.parameters, in: arena)
    if !arena.isCounting {
      parameters.initialize(seed: UInt64(configuration.training.seed), engine: engine)
    }
    let laneLayout = try LaneLayout(configuration, rankCount: ranks.rankCount)
    self.laneLayout = laneLayout
    let layout = try VocabularyLayout(
      configuration.exchange.vocabulary, frozen: vocabularyGroupSize, trainingRanks: laneLayout.trainingRanks)
    self.layout = layout
    shard = layout.parameterShard(of: ranks.rank, model)
    optimizer = Optimizer(
      configuration.optimizer, list: model.parameters, shard: shard, engine: engine,
      in: arena)
    exchange = try Self.exchange(
      configuration, model: model, common: shard.common, ranks: ranks, laneLayout: laneLayout, thread: thread,
      in: arena)
    placement = try layout.placement(
      shard, exchange: exchange,
      configuration: Self.exchangeConfiguration(configuration.exchange, codec: exchange.codec), model: model,
      training: configuration.training, laneLayout: laneLayout, communicator: ranks.gradients,
      thread: thread, in: arena)
    pass = SegmentPass(
      model, parameters: parameters, stepCount: configuration.training.segment,
      laneCount: laneLayout.lanes(of: ranks.rank).count, accumulation: configuration.training.accumulate,
      engine: engine, softmaxThreshold: Float(configuration.training.softmaxThreshold),
      vocabulary: placement.shards, in: arena)
    counters = CheckpointState(
      step: 0, segmentIndex: 0, tokenCount: 0, rankCount: ranks.rankCount, threadCount: engine.threadCount,
      engine: engine.name, cpuLevel: engine.cpuLevel, precision: engine.precision.rawValue,
      programVersion: programVersion, configuration: configuration.yaml,
      vocabularyHash: text.vocabularyHash)
    counters.nodeOfRank = exchange.layout.nodeOfRank
    counters.trainingRankCount = laneLayout.trainingRankCount
    counters.vocabularyGroupSize = layout.groupSize
    counters.isTokenized = text.isTokenized
    counters.tokenChecksums = text.tokenChecksums
    counters.codecDecisions = initialDecisions
  }

  private static func exchange(
    _ configuration: RunConfiguration, model: LanguageModel, common: Range<Int>, ranks: Ranks,
    laneLayout: LaneLayout, thread: CommunicationThread, in arena: Arena
  ) throws -> GradientExchange {
    let training = configuration.training
    let layout = ranks.gradients.layout.limited(to: configuration.exchange.ranksPerNode)
    return try GradientExchange(
      communicator: ranks.gradients, thread: thread, elementCount: common.count,
      ranges: exchangeRanges(model, common: common),
      rows: sparseRows(model, common: common, training: training, laneLayout: laneLayout),
      configuration: exchangeConfiguration(
        configuration.exchange, codec: initialCodec(configuration.exchange, nodeCount: layout.nodeCount)),
      in: arena)
  }

  /// The ranges of the gradient that all ranks exchange.
  static func exchangeRanges(_ model: LanguageModel, common: Range<Int>) -> [ExchangeRange] {
    let first = common.lowerBound
    return model.gradientRanges.filter { common.contains($0.range.lowerBound) }.map { range in
      ExchangeRange(
        range: range.range.lowerBound - first..<range.range.upperBound - first,
        blockLength: range.rowLength ?? 256, name: range.name)
    }
  }

  /// The looked-up rows of the tied matrix; nil where it is not exchanged by all ranks.
  static func sparseRows(
    _ model: LanguageModel, common: Range<Int>, training: TrainingConfiguration, laneLayout: LaneLayout
  ) -> SparseRows? {
    let tied = model.tiedMatrix
    guard common.contains(tied.offset) else { return nil }
    return SparseRows(
      offset: tied.offset, width: tied.columnCount, rowCount: tied.rowCount,
      maximumRowCount: laneLayout.laneCountPerRank * training.segment * training.accumulate)
  }

  static func exchangeConfiguration(
    _ settings: ExchangeSettings, codec: Codec
  ) -> ExchangeConfiguration {
    ExchangeConfiguration(
      codec: codec, bucketByteCount: settings.bucketByteCount,
      ranksPerNode: settings.ranksPerNode)
  }
}

// MARK: - Memory

extension TrainingState {
  /// The bytes that this rank has allocated for it; `MemoryNeed` predicts them.
  package var byteCount: Int {
    arena.byteCount + exchange.residualByteCount + placement.residuals.byteCount
  }
}

// MARK: - Checkpoints

extension TrainingState {
  /// Parameters and the optimizer's moments, which a checkpoint holds.
  var buffers: [ParameterBuffer] { [parameters] + optimizer.moments.map(\.buffer) }

  /// Copies the state of all ranks into rank 0's snapshot, which the other ranks do not have; all ranks call it.
  ///
  /// Shards of parameters and moments arrive later: `Snapshot.waitUntilComplete`.
  func snapshot(into snapshot: Snapshot?, by transfer: ShardTransfer) throws {
    if let snapshot {
      let start = ContinuousClock.now
      for (own, other) in zip(snapshot.buffers, buffers) { own.copy(shard, from: other, engine: engine) }
      snapshot.copySeconds = (ContinuousClock.now - start).inSeconds
      snapshot.counters = counters
    }
    for (index, part) in pass.carriedState.parts.enumerated() {
      let arena = Arena()
      defer { withExtendedLifetime(arena) {} }
      let lanesOfRanks = (snapshot?.carriedState.parts[index]).map { all in
        (0..<ranks.rankCount).map { all.lanes(laneLayout.lanes(of: $0)) }
      }
      // A rank's lanes of several slots do not adjoin in the snapshot.
      let received = (lanesOfRanks ?? []).map { $0.slots.count == 1 ? $0 : .init(like: $0, in: arena) }
      _ = try ranks.control.gather(
        "carried state \(part.name)", UnsafeRawBufferPointer(part.values.bytes), to: Ranks.coordinator,
        into: received.map(\.values.bytes))
      for (lanes, own) in zip(lanesOfRanks ?? [], received) where lanes.slots.count > 1 {
        lanes.copy(from: own)
      }
    }
    snapshot?.removeResiduals()
    try gatherResiduals(into: snapshot)
    try transfer.begin(self, into: snapshot)
  }

  /// Sets the parameters of all ranks to weights of another run, which rank 0 alone has; all ranks call it before the first
  /// step, the others with nil.
  func begin(from weights: InitialWeights?) throws {
    let encoded = try ranks.onCoordinator("read the initial weights") {
      try weights.map { try JSONEncoder().encode($0.load(into: parameters)) }
    }
    let record = try ranks.control.broadcast(
      "record of the initial weights", Array((encoded ?? nil) ?? Data()), from: Ranks.coordinator)
    counters.initialWeights = try JSONDecoder().decode(
      CheckpointState.InitialWeights.self, from: Data(record))
    try distribute([parameters])
  }

  /// Sets the state of all ranks to that of a checkpoint, which rank 0 alone reads; all ranks call it, the others with nil.
  ///
  /// For another number of ranks the carried state is distributed again, and residuals keep their sum.
  package func restore(from checkpoint: Checkpoint?) throws {
    let encoded: [UInt8] = try ranks.onAllRanks("read the checkpoint") {
      guard let checkpoint else { return [] }
      try parameters.load(from: checkpoint.tensors(.model))
      let file = try checkpoint.tensors(.optimizer)
      for moment in optimizer.moments { try moment.buffer.load(from: file, prefix: "\(moment.name).") }
      return try checkpoint.state.continued(on: text).encoded()
    }
    let shared = try ranks.control.broadcast("checkpoint's state", encoded, from: Ranks.coordinator)
    let saved = try CheckpointState(encoded: shared, path: "rank 0's checkpoint")
    try distribute(buffers)
    try adoptCodec(of: saved)
    try restoreCarriedState(checkpoint)
    try restoreResiduals(checkpoint, saved: saved)
    let current = counters
    counters = saved
    counters.adoptProcess(of: current)
    let isDecided = configuration.exchange.codec != nil
    if isDecided || isCodecOpen || exchange.layout.nodeCount == 1,
      saved.codecDecisions.last?.codec != codec.rawValue
    {
      counters.codecDecisions += initialDecisions
    }
  }

  /// Gives every rank the rows of its lanes.
  private func restoreCarriedState(_ checkpoint: Checkpoint?) throws {
    let laneCount = configuration.training.lanes
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let all = CarriedState(like: pass.carriedState, laneCount: laneCount, in: arena)
    for part in all.parts {
      try ranks.onAllRanks("read the carried state") {
        guard let file = try checkpoint?.tensors(.carry) else { return }
        guard try file.shape(of: part.name) == part.shape else {
          throw MilmError(
            "\(file.path): expected \(part.name) of shape \(part.shape), found \(try file.shape(of: part.name))"
          )
        }
        try file.copy(
          part.name, into: UnsafeMutableBufferPointer(start: part.values.data, count: part.values.count))
      }
      try ranks.control.broadcast("carried state", over: part.values.bytes, from: Ranks.coordinator)
    }
    pass.carriedState.copy(from: all.lanes(laneLayout.lanes(of: ranks.rank)))
  }

  /// Throws where parameters that are to be equal differ between ranks: all that are not sharded, and each shard between the
  /// groups.
  func verifyReplicas() throws {
    let step = counters.step
    let tensors = model.parameters.parameters
    try ranks.control.verifyReplicas(
      hashes: tensors.filter(shard.isCommon).map { ($0.name, parameters.hash(of: $0)) }, step: step)
    let shards = layout.exchangedShards
    guard !shards.isEmpty else { return }
    try ranks.control.verifyReplicas(
      hashes: tensors.filter { !shard.isCommon($0) }.map { ($0.name, parameters.hash(of: $0, shard)) },
      of: shards.map { index in
        ("shard \(index) of \(layout.groupSize)", layout.owners(ofShard: index))
      }, step: step)
  }

  /// The part of a flat buffer that is equal on all ranks.
  package func common(_ buffer: ParameterBuffer) -> UnsafeMutablePointer<Float> {
    buffer.flat.data + shard.common.lowerBound
  }
}

// MARK: - Codec

extension TrainingState {
  var codec: Codec { exchange.codec }

  /// The codec until one is chosen: exact, and none at all where nothing is sent.
  private static func initialCodec(_ settings: ExchangeSettings, nodeCount: Int) -> Codec {
    settings.codec ?? (nodeCount > 1 ? .lossless : .uncompressed)
  }

  /// The decision at the beginning of a run; none where it is still to be made.
  private var initialDecisions: [CheckpointState.CodecDecision] {
    guard configuration.exchange.codec == nil else {
      return [.init(step: counters.step, codec: codec.rawValue, reason: "configured")]
    }
    guard exchange.layout.nodeCount == 1 else { return [] }
    return [.init(step: counters.step, codec: codec.rawValue, reason: "auto: one node, nothing is sent")]
  }

  /// Whether the codec is still to be chosen.
  var isCodecOpen: Bool {
    configuration.exchange.codec == nil && exchange.layout.nodeCount > 1
      && counters.codecDecisions.count <= outdatedDecisionCount
  }

  /// Adopts the codec that a run has chosen, if its ranks and nodes are those of this process and the configuration still
  /// allows it.
  private func adoptCodec(of saved: CheckpointState) throws {
    guard configuration.exchange.codec == nil else { return }
    let earlier = try RunConfiguration(
      yaml: saved.configuration, source: "the checkpoint's configuration")
    let candidates = configuration.exchange.candidates(for: configuration.optimizer)
    let nodes = saved.nodeOfRank ?? Array(0..<saved.rankCount)
    if exchange.layout.nodeCount > 1, NodeLayout(nodeOfRank: nodes) == exchange.layout,
      let name = saved.codecDecisions.last?.codec, let codec = Codec(rawValue: name),
      earlier.exchange.codec == nil, candidates.contains(codec)
    {
      choose(codec)
      outdatedDecisionCount = 0
    } else {
      outdatedDecisionCount = saved.codecDecisions.count
    }
  }

  /// Whether the exchange's threads have a core that no compute thread of this host uses; the other ranks of the host are
  /// assumed to have the same cores.
  package var hasSpareCore: Bool {
    ranks.countOnHost * engine.threadCount < Processors.allowed.usableCount
  }
}

extension CheckpointState {
  /// Differences from an earlier process that change results in the last bits, one line each.
  func differencesInBits(from earlier: CheckpointState) -> [String] {
    func difference<Value: Equatable>(_ name: String, _ value: (CheckpointState) -> Value) -> String? {
      let (before, after) = (value(earlier), value(self))
      return before == after ? nil : "\(name) \(before) → \(after)"
    }
    let ranks = difference("ranks", \.rankCount)
    // Another number of ranks says it already.
    let trainingRanks =
      ranks == nil ? difference("training ranks") { $0.trainingRankCount ?? $0.rankCount } : nil
    return [
      ranks, difference("ranks of each node", \.nodeSizes), trainingRanks,
      difference("threads", \.threadCount),
      difference("engine", \.engine), difference("CPU level", \.cpuLevel),
    ].compactMap { $0 }
  }

  /// The number of ranks of each node.
  private var nodeSizes: [Int] {
    NodeLayout(nodeOfRank: nodeOfRank ?? Array(0..<rankCount)).nodes.map(\.count)
  }

  /// Adopts the properties of the process: they do not belong to the run.
  mutating func adoptProcess(of current: CheckpointState) {
    rankCount = current.rankCount
    nodeOfRank = current.nodeOfRank
    trainingRankCount = current.trainingRankCount
    vocabularyGroupSize = current.vocabularyGroupSize
    threadCount = current.threadCount
    engine = current.engine
    cpuLevel = current.cpuLevel
    precision = current.precision
    programVersion = current.programVersion
    configuration = current.configuration
    files = [:]
  }
}
