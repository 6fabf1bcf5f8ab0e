import Synchronization

/// The compressed all-reduce: replaces each rank's gradient by the mean of all,
/// with the same bits everywhere.
///
/// A step: `begin`, then `submit` for each configured range as it is finished, in the same order
/// on all ranks (and `submitRows` once if there are sparse rows), `finish`, and `commit` or `rollback`.
/// Each range is cut into buckets, each bucket into a part for each rank. Everyone sends the owner
/// of a part its encoded values; the owner adds them in the order of ranks, divides by their number,
/// and sends the encoded mean back; everyone, the owner included, takes what these bytes decode to.
/// What encoding loses is added to the next step, on both hops.
///
/// One thread calls the methods; the work is done on the communication thread.
///
/// `@unchecked Sendable`: what jobs read is changed only while no job is submitted;
/// what they write is behind `outcome` or read after they are done.
public final class GradientExchange: @unchecked Sendable {
  let communicator: any Communicator
  let thread: CommunicationThread
  let configuration: ExchangeConfiguration
  let plan: BucketPlan
  let elementCount: Int
  let workspace: ExchangeWorkspace
  let rows: RowExchange?
  /// None while nothing was ever lost.
  var residuals: Residuals?
  /// The step under way.
  private(set) var step = Step(number: 0, codec: .none, gradient: nil, limits: nil)

  private let outcome = Mutex(Outcome())
  private var stage = Stage.idle
  private var submittedRanges: Set<Int> = []
  private let rangeCount: Int

  /// What the jobs of a step need to know.
  struct Step {
    var number: Int
    var codec: Codec
    var gradient: UnsafeMutablePointer<Float>?
    var limits: StallLimits?
  }

  private struct Outcome {
    var failure: (any Error)?
    var report = ExchangeReport(codec: .none)
  }

  private enum Stage { case idle, exchanging, finished }

  /// An exchange for flat gradients of `elementCount` values, which `ranges` tile.
  ///
  /// All arguments are the same on all ranks. All memory is allocated here.
  /// `communicator` carries nothing else, and is used on `thread` alone.
  public init(
    communicator: any Communicator, thread: CommunicationThread, elementCount: Int, ranges: [ExchangeRange],
    rows: SparseRows? = nil, configuration: ExchangeConfiguration
  ) {
    let sorted = ranges.map(\.range).sorted { $0.lowerBound < $1.lowerBound }
    let end = sorted.reduce(0) { position, range in
      precondition(range.lowerBound == position && !range.isEmpty, "ranges tile the gradient: \(range)")
      return range.upperBound
    }
    precondition(end == elementCount, "ranges tile the gradient: they end at \(end), not at \(elementCount)")
    self.communicator = communicator
    self.thread = thread
    self.configuration = configuration
    self.elementCount = elementCount
    rangeCount = ranges.count
    let plan = BucketPlan(
      ranges, bucketByteCount: configuration.bucketByteCount, rank: communicator.rank,
      rankCount: communicator.rankCount)
    self.plan = plan
    let sparse = rows.map {
      RowExchange($0, ranges: ranges, communicator: communicator, bucketCount: plan.buckets.count)
    }
    self.rows = sparse
    workspace = ExchangeWorkspace(
      maximumPartCount: plan.buckets.reduce(0) { max($0, $1.maximumPartCount) },
      maximumRowElementCount: sparse?.maximumElementCount ?? 0, rankCount: communicator.rankCount)
    if !configuration.codec.isExact && communicator.rankCount > 1 {
      residuals = Residuals(elementCount: elementCount, ownCount: plan.ownCount)
    }
  }

  /// Begins a step; `gradient` has `elementCount` elements, and stays where it is until `finish` returns.
  ///
  /// `limits` say how long to wait for other ranks in this step; nil: as long as the configuration says.
  /// A flushing step sends the gradient and all residuals exactly; they are zero once it is committed.
  public func begin(
    step: Int, flushing: Bool, gradient: UnsafeMutablePointer<Float>, limits: StallLimits? = nil
  ) {
    precondition(stage == .idle, "begin follows commit or rollback")
    let codec = flushing && !configuration.codec.isExact ? .lossless : configuration.codec
    self.step = Step(
      number: step, codec: codec, gradient: gradient, limits: limits ?? configuration.stallLimits)
    stage = .exchanging
    outcome.withLock { $0.report = ExchangeReport(codec: codec) }
  }

  /// Hands over a range whose gradient is finished, unless later rows are added to it;
  /// one of the configured ones.
  public func submit(range: Range<Int>) throws {
    precondition(stage == .exchanging, "submit follows begin")
    guard let buckets = plan.bucketIndices(of: range) else {
      preconditionFailure("no configured range: \(range)")
    }
    precondition(submittedRanges.insert(range.lowerBound).inserted, "a range once a step: \(range)")
    try throwFailure()
    for index in buckets {
      perform { exchange, report in
        try exchange.reduce(exchange.plan.buckets[index], report: &report)
      }
    }
  }

  /// Adds the mean of all ranks' `rows` to the rows `ids` of the matrix, after its dense part,
  /// which was submitted before.
  ///
  /// `ids` rise strictly; `rows` has a row for each. Both stay where they are until `finish` returns.
  /// Every rank calls it, be it with no rows, and the rows travel exactly.
  public func submitRows(ids: UnsafeBufferPointer<Int32>, rows: UnsafePointer<Float>) throws {
    guard let sparse = self.rows else { preconditionFailure("the exchange was made without sparse rows") }
    precondition(
      stage == .exchanging && submittedRanges.contains(sparse.offset), "rows follow their dense part")
    try throwFailure()
    sparse.set(ids: ids, rows: rows)
    perform { exchange, report in
      try sparse.exchange(exchange, report: &report)
    }
  }

  /// Waits for the step's exchange and says what it cost; the gradient is then the mean over all ranks.
  public func finish() throws -> ExchangeReport {
    precondition(stage == .exchanging, "finish follows begin")
    let start = ContinuousClock.now
    try thread.run {}
    try throwFailure()
    precondition(submittedRanges.count == rangeCount, "finish follows submit of every range")
    stage = .finished
    submittedRanges.removeAll(keepingCapacity: true)
    let exposedSeconds = (ContinuousClock.now - start).seconds
    return outcome.withLock {
      $0.report.exposedSeconds = exposedSeconds
      return $0.report
    }
  }

  /// Ends a step that was applied: what it lost will be made up for.
  public func commit() {
    precondition(stage == .finished, "commit follows finish")
    residuals?.commit(areZero: step.codec.isExact || communicator.rankCount == 1)
    stage = .idle
  }

  /// Ends a step that was skipped: residuals stay as they were before it.
  public func rollback() {
    precondition(stage == .finished, "rollback follows finish")
    stage = .idle
  }

  /// Runs a job of this step on the communication thread, unless one before it has failed.
  private func perform(
    _ job: @escaping @Sendable (GradientExchange, inout ExchangeReport) throws -> Void
  ) {
    thread.submit { [self] in
      var (failure, report) = outcome.withLock { ($0.failure, $0.report) }
      guard failure == nil else { return }
      let start = ContinuousClock.now
      do { try job(self, &report) } catch { failure = error }
      report.totalSeconds += (ContinuousClock.now - start).seconds
      outcome.withLock { $0 = Outcome(failure: failure, report: report) }
    }
  }

  private func throwFailure() throws {
    if let failure = outcome.withLock({ $0.failure }) { throw failure }
  }
}
