/// What the threads of one rank's exchange did in one step, stretch by stretch.
public struct ExchangeTrace: Sendable, Equatable {
  /// A thread of the exchange.
  public enum Worker: Sendable {
    /// The one that talks to other ranks.
    case communication
    /// The one that codes meanwhile.
    case coding
  }

  /// A kind of work, as `ExchangeReport` adds up its seconds.
  public enum Work: String, Sendable {
    /// Adding residuals, coding and compressing.
    case encode
    /// Sending, receiving and waiting for other ranks.
    case wire
    /// Decompressing, decoding and adding.
    case decode

    init(_ seconds: WritableKeyPath<ExchangeReport, Double>) {
      self = seconds == \.encodeSeconds ? .encode : seconds == \.wireSeconds ? .wire : .decode
    }
  }

  /// A stretch of work on one bucket.
  public struct Span: Sendable, Equatable {
    /// Who did it.
    public let worker: Worker
    /// What was done.
    public let work: Work
    /// Which bucket, and on which way.
    public let operation: CollectiveOperation
    /// Bytes of the bucket's floats; of sending, the bytes that were sent.
    public let byteCount: Int
    /// When it began.
    public let start: ContinuousClock.Instant
    /// When it ended.
    public let end: ContinuousClock.Instant
  }

  /// The stretches; those of one worker are in the order of time.
  public private(set) var spans: [Span] = []
  private var operation = CollectiveOperation.control("none")
  private var floatByteCount = 0
  private var sentByteCount = 0
  private let worker: Worker

  /// A trace of what one worker does.
  init(of worker: Worker) {
    self.worker = worker
  }

  /// Says what the stretches to come are about.
  mutating func note(_ operation: CollectiveOperation, floatByteCount: Int) {
    self.operation = operation
    self.floatByteCount = floatByteCount
  }

  /// Says what the next stretch sends.
  mutating func note(_ operation: CollectiveOperation, sentByteCount: Int) {
    self.operation = operation
    self.sentByteCount = sentByteCount
  }

  mutating func add(_ work: Work, from start: ContinuousClock.Instant, to end: ContinuousClock.Instant) {
    let byteCount = work == .wire ? sentByteCount : floatByteCount
    if work == .wire { sentByteCount = 0 }
    spans.append(
      Span(worker: worker, work: work, operation: operation, byteCount: byteCount, start: start, end: end))
  }

  /// Takes in what another worker did.
  mutating func add(_ other: ExchangeTrace) {
    spans += other.spans
  }
}
