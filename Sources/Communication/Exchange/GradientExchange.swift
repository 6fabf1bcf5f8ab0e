import Platform
import Synchronization
import Tensors

/// The compressed all-reduce: replaces each rank's gradient by the mean of all, with the same bits on all ranks.
///
/// A step: `begin`, then `submit` for each configured range as it is finished, in the same order on all ranks (and
/// `submitRows` once if there are sparse rows), `finish`, and `commit` or `rollback`.
/// Each range is split into buckets. The ranks of a node sum theirs in shared memory, in the order of ranks; each of them
/// leads a partition, in which every node owns a chunk (`NodeLayout`). Leaders send the owner of a chunk their node's encoded
/// sums; the owner adds them in the order of nodes, divides by the number of ranks, and sends the encoded mean to all
/// leaders; every leader, the owner included, decodes these bytes, and the node's ranks copy the result. Rounding errors of
/// both hops are added to the next step (error feedback).
///
/// One thread calls the methods; the communication thread sends, and while a bucket is on the wire the codec thread
/// decodes the previous one and encodes the next.
///
/// `@unchecked Sendable`: what jobs read is changed only while no job is submitted;
/// what they write is behind `outcome` or read after they are done.
package final class GradientExchange: @unchecked Sendable {
  let communicator: any Communicator
  let thread: CommunicationThread
  /// One set of slots is on the wire while the other is coded.
  static let slotSetCount = 2
  /// Codes one bucket while another is on the wire.
  let coding: JobThread
  let configuration: ExchangeConfiguration
  let plan: BucketPlan
  let elementCount: Int
  /// All buffers but the residuals.
  let arena: Arena
  /// Chunks to their owners.
  let chunks: FrameChannel
  /// Means from their owners.
  let means: FrameChannel
  /// The sum of a chunk, then its mean.
  let sum: FloatBuffer
  /// Decoded values of one frame.
  let decoded: FloatBuffer
  let rows: SparseAllGather?
  package let model: ExchangeModel
  /// Which ranks sum through shared memory.
  package let layout: NodeLayout
  /// Nil where each rank is a node of its own.
  let node: NodeMemory?
  /// The leaders of this rank's partition, one per node; empty where it leads none.
  let peers: [Int]
  /// The codec of steps that do not flush.
  package private(set) var codec: Codec
  /// Nil until there is a rounding error.
  var residuals: Residuals?
  /// The step under way.
  private(set) var step = Step(number: 0, codec: .uncompressed, gradient: nil, limits: nil)

  /// The tensors of the gradient, in their configured order.
  let ranges: [ExchangeRange]
  /// Whether reports carry a trace; changed between steps.
  package var isTraced = false
  /// When the ranges of the last step were submitted.
  package private(set) var timing = StepTiming()
  private var stepStart = ContinuousClock.now

  private let outcome = Mutex(Outcome())
  /// The price of a byte in the step under way.
  private(set) var price = WirePrice()
  private var stage = Stage.idle
  private var submittedRanges: Set<Int> = []

  /// The state that the jobs of a step read.
  struct Step {
    var number: Int
    var codec: Codec
    var gradient: UnsafeMutablePointer<Float>?
    var limits: StallLimits?
  }

  private struct Outcome {
    var failure: (any Error)?
    var report = ExchangeReport(codec: .uncompressed)
  }

  private enum Stage { case idle, exchanging, finished }

  /// An exchange for flat gradients of `elementCount` values, which `ranges` tile.
  ///
  /// All arguments are the same on all ranks. All memory is allocated here.
  /// `communicator` carries nothing else, and is used on `thread` alone.
  package init(
    communicator: any Communicator, thread: CommunicationThread, elementCount: Int, ranges: [ExchangeRange],
    rows: SparseRows? = nil, configuration: ExchangeConfiguration, in arena: Arena = Arena()
  ) throws {
    let sorted = ranges.map(\.range).sorted { $0.lowerBound < $1.lowerBound }
    let end = sorted.reduce(0) { position, range in
      precondition(range.lowerBound == position && !range.isEmpty, "ranges tile the gradient: \(range)")
      return range.upperBound
    }
    precondition(end == elementCount, "ranges tile the gradient: they end at \(end), not at \(elementCount)")
    self.arena = arena
    self.communicator = communicator
    self.thread = thread
    coding = try JobThread(name: "coding", flushesDenormals: true)
    self.configuration = configuration
    self.elementCount = elementCount
    self.ranges = ranges
    codec = configuration.codec
    let layout = communicator.layout.limited(to: configuration.ranksPerNode)
    self.layout = layout
    peers = layout.leaders(ofPartitionOf: communicator.rank)
    let plan = BucketPlan(
      ranges, bucketByteCount: configuration.bucketByteCount, layout: layout, rank: communicator.rank)
    self.plan = plan
    model = ExchangeModel(
      ranges: ranges, rows: rows, bucketByteCount: configuration.bucketByteCount, layout: layout)
    let mostRowElements =
      rows.map { SparseAllGather.maximumElementCount($0, layout: layout) } ?? 0
    let maximumChunkCount = peers.isEmpty ? 0 : plan.maximumChunkCount
    let coder = FrameCoder(maximumElementCount: max(maximumChunkCount, mostRowElements), in: arena)
    chunks = FrameChannel(
      communicator, peers: peers, coder: coder, frameElementCounts: [maximumChunkCount],
      setCount: Self.slotSetCount, in: arena)
    means = FrameChannel(
      communicator, peers: peers, coder: coder, frameElementCounts: [maximumChunkCount], outgoingCount: 1,
      setCount: Self.slotSetCount, in: arena)
    sum = FloatBuffer(count: maximumChunkCount, in: arena)
    decoded = FloatBuffer(count: max(maximumChunkCount, mostRowElements), in: arena)
    let sparse = rows.map {
      SparseAllGather(
        $0, ranges: ranges, layout: layout, communicator: communicator, coder: coder,
        operationIndex: plan.buckets.count, in: arena)
    }
    self.rows = sparse
    let partitionElementCount = plan.maximumChunkCount * layout.nodeCount
    node =
      layout.isFlat
      ? nil
      : try thread.run {
        try NodeMemory(
          communicator, layout,
          contributionByteCount: max(4 * plan.maximumBucketCount, sparse?.contributionByteCount ?? 0),
          partitionElementCount: partitionElementCount, rowByteCount: sparse?.nodeByteCount ?? 0, in: arena)
      }
    if roundsOnTheWire { residuals = makeResiduals() }
  }

  /// The bytes of the residuals, which are not in the exchange's arena.
  package var residualByteCount: Int { residuals?.byteCount ?? 0 }

  /// Whether the codec rounds and there is another node to send to.
  private var roundsOnTheWire: Bool { !codec.isExact && layout.nodeCount > 1 }

  /// Sets the codec from the next step on; the same on all ranks, between steps.
  package func choose(_ codec: Codec) {
    precondition(stage == .idle, "a codec is chosen between steps")
    self.codec = codec
    price = WirePrice()
    if roundsOnTheWire, residuals == nil { residuals = makeResiduals() }
  }

  /// Begins a step; `gradient` has `elementCount` elements, and stays where it is until `finish` returns.
  ///
  /// `limits` bound the wait for other ranks in this step (default: the configuration's).
  /// A flushing step sends the gradient and all residuals exactly; residuals are zero once it is committed.
  package func begin(
    step: Int, flushing: Bool, gradient: UnsafeMutablePointer<Float>, limits: StallLimits? = nil
  ) {
    precondition(stage == .idle, "begin follows commit or rollback")
    let codec = flushing && !codec.isExact ? .lossless : codec
    self.step = Step(
      number: step, codec: codec, gradient: gradient, limits: limits ?? configuration.stallLimits)
    stage = .exchanging
    stepStart = .now
    timing = StepTiming()
    outcome.withLock { $0.report = ExchangeReport(codec: codec, isTraced: isTraced) }
  }

  /// Submits a configured range whose gradient is finished, except for rows added later.
  package func submit(range: Range<Int>) throws {
    precondition(stage == .exchanging, "submit follows begin")
    guard let buckets = plan.bucketIndices(of: range) else {
      preconditionFailure("no configured range: \(range)")
    }
    precondition(submittedRanges.insert(range.lowerBound).inserted, "each range once per step: \(range)")
    try throwFailure()
    if let number = ranges.firstIndex(where: { $0.range == range }) {
      timing.submitted.append((number, (ContinuousClock.now - stepStart).inSeconds))
    }
    perform { exchange, report in try exchange.reduce(buckets, report: &report) }
  }

  /// Adds the mean of all ranks' `rows` to the rows `ids` of the matrix, after its dense part,
  /// which was submitted before.
  ///
  /// `ids` are strictly ascending; `rows` has a row for each. Both stay where they are until `finish` returns.
  /// Every rank calls it, even without rows; rows are sent exactly.
  package func submitRows(ids: UnsafeBufferPointer<Int32>, rows: UnsafePointer<Float>) throws {
    guard let sparse = self.rows else { preconditionFailure("the exchange was made without sparse rows") }
    precondition(
      stage == .exchanging
        && ranges.allSatisfy {
          !$0.range.overlaps(sparse.range) || submittedRanges.contains($0.range.lowerBound)
        }, "rows follow their dense part")
    try throwFailure()
    sparse.set(ids: ids, rows: rows)
    perform { exchange, report in
      try sparse.addMeanRows(exchange, report: &report)
    }
  }

  /// Waits for the step's exchange and returns its costs; the gradient is then the mean over all ranks.
  package func finish() throws -> ExchangeReport {
    precondition(stage == .exchanging, "finish follows begin")
    let start = ContinuousClock.now
    timing.finishSeconds = (start - stepStart).inSeconds
    try thread.run {}
    try throwFailure()
    precondition(submittedRanges.count == ranges.count, "finish follows submit of every range")
    stage = .finished
    submittedRanges.removeAll(keepingCapacity: true)
    let exposedSeconds = (ContinuousClock.now - start).inSeconds
    let report = outcome.withLock {
      $0.report.exposedSeconds = exposedSeconds
      return $0.report
    }
    // A flushing step is not representative.
    if report.codec == codec {
      price.update(
        wireByteCount: report.wireByteCount, wireSeconds: report.wireSeconds, exposedSeconds: exposedSeconds)
    }
    return report
  }

  /// Ends a step that was applied: its rounding errors become the residuals.
  package func commit() {
    precondition(stage == .finished, "commit follows finish")
    residuals?.commit(areZero: step.codec.isExact || layout.nodeCount == 1)
    stage = .idle
  }

  /// Ends a step that was skipped: residuals stay as they were.
  package func rollback() {
    precondition(stage == .finished, "rollback follows finish")
    stage = .idle
  }

  /// Seconds of the transport's own all-reduce on fp32, which sums `values` in place: the baseline of this exchange.
  ///
  /// All ranks call it between steps, with `elementCount` floats that need not be this exchange's.
  package func timePlainAllReduce(_ values: UnsafeMutablePointer<Float>, elementCount: Int) throws -> Double {
    nonisolated(unsafe) let values = UnsafeMutableBufferPointer(start: values, count: elementCount)
    return try thread.run { [communicator] in
      try communicator.barrier("before the transport's all-reduce")
      let start = ContinuousClock.now
      try communicator.transportSum(values)
      return (ContinuousClock.now - start).inSeconds
    }
  }

  /// Runs a job of this step on the communication thread, unless a previous one has failed.
  private func perform(
    _ job: @escaping @Sendable (GradientExchange, inout ExchangeReport) throws -> Void
  ) {
    thread.submit { [self] in
      var (failure, report) = outcome.withLock { ($0.failure, $0.report) }
      guard failure == nil else { return }
      let start = ContinuousClock.now
      do { try job(self, &report) } catch {
        failure = error
        thread.end(because: error)
      }
      report.totalSeconds += (ContinuousClock.now - start).inSeconds
      outcome.withLock { $0 = Outcome(failure: failure, report: report) }
    }
  }

  private func throwFailure() throws {
    if let failure = outcome.withLock({ $0.failure }) { throw failure }
  }
}
