import Platform

/// Costs of one rank's exchange in one step.
package struct ExchangeReport: Sendable, Equatable {
  /// The codec of this step.
  package let codec: Codec
  /// Size of the sent values as 32-bit floats, in bytes.
  package internal(set) var rawByteCount = 0
  /// Bytes sent.
  package internal(set) var wireByteCount = 0
  /// Seconds of adding residuals, coding and compressing; overlaps the wire where there are several buckets.
  package internal(set) var encodeSeconds = 0.0
  /// Seconds of sending, receiving and waiting for other ranks.
  package internal(set) var wireSeconds = 0.0
  /// Seconds of decompressing, decoding and adding.
  package internal(set) var decodeSeconds = 0.0
  /// Seconds of the communication thread for this step, waiting included.
  package internal(set) var totalSeconds = 0.0
  /// Exposed communication time: seconds `finish` blocked its caller.
  package internal(set) var exposedSeconds = 0.0
  /// Spans of work; nil unless the step was traced.
  package internal(set) var trace: ExchangeTrace?

  init(codec: Codec, isTraced: Bool = false, worker: ExchangeTrace.Worker = .communication) {
    self.codec = codec
    trace = isTraced ? ExchangeTrace(of: worker) : nil
  }

  /// Adds the work of the codec thread for the same step.
  mutating func add(_ coding: ExchangeReport) {
    rawByteCount += coding.rawByteCount
    wireByteCount += coding.wireByteCount
    encodeSeconds += coding.encodeSeconds
    decodeSeconds += coding.decodeSeconds
    if let spans = coding.trace { trace?.add(spans) }
  }

  /// Adds the whole cost of another exchange of the same step.
  package mutating func add(apart other: ExchangeReport) {
    add(other)
    wireSeconds += other.wireSeconds
    totalSeconds += other.totalSeconds
    exposedSeconds += other.exposedSeconds
  }

  /// Adds the time `body` takes to the seconds of a kind of work.
  mutating func timing<Value>(
    _ work: ExchangeTrace.Work, _ body: (inout ExchangeReport) throws -> Value
  ) rethrows -> Value {
    let start = ContinuousClock.now
    let value = try body(&self)
    let end = ContinuousClock.now
    let seconds = (end - start).inSeconds
    switch work {
    case .encode: encodeSeconds += seconds
    case .wire: wireSeconds += seconds
    case .decode: decodeSeconds += seconds
    }
    trace?.add(work, from: start, to: end)
    return value
  }
}

/// Spans of work of one rank's exchange in one step.
package struct ExchangeTrace: Sendable, Equatable {
  /// A thread of the exchange.
  package enum Worker: Sendable {
    /// The one that communicates with other ranks.
    case communication
    /// The one that encodes and decodes.
    case coding
  }

  /// A kind of work, by which `ExchangeReport` sums seconds.
  package enum Work: String, Sendable {
    /// Adding residuals, coding and compressing.
    case encode
    /// Sending, receiving and waiting for other ranks.
    case wire
    /// Decompressing, decoding and adding.
    case decode
  }

  /// A span of work on one bucket.
  package struct Span: Sendable, Equatable {
    /// The thread.
    package let worker: Worker
    /// The kind of work.
    package let work: Work
    /// The bucket and the phase of the exchange.
    package let operation: MessageTag
    /// Bytes of the bucket's floats; for `wire`, bytes sent.
    package let byteCount: Int
    /// Start time.
    package let start: ContinuousClock.Instant
    /// End time.
    package let end: ContinuousClock.Instant
  }

  /// All spans; those of one worker are in the order of time.
  package private(set) var spans: [Span] = []
  private var operation = MessageTag.control("none")
  private var floatByteCount = 0
  private var sentByteCount = 0
  private let worker: Worker

  /// A trace of one worker.
  init(of worker: Worker) {
    self.worker = worker
  }

  /// Sets the operation and size of the spans that follow.
  mutating func note(_ operation: MessageTag, floatByteCount: Int) {
    self.operation = operation
    self.floatByteCount = floatByteCount
  }

  /// Sets the operation of the next span of sending, and adds to its bytes.
  mutating func note(_ operation: MessageTag, addingSentByteCount byteCount: Int) {
    self.operation = operation
    sentByteCount += byteCount
  }

  mutating func add(_ work: Work, from start: ContinuousClock.Instant, to end: ContinuousClock.Instant) {
    let byteCount = work == .wire ? sentByteCount : floatByteCount
    if work == .wire { sentByteCount = 0 }
    spans.append(
      Span(worker: worker, work: work, operation: operation, byteCount: byteCount, start: start, end: end))
  }

  /// Adds the spans of another worker.
  mutating func add(_ other: ExchangeTrace) {
    spans += other.spans
  }
}
