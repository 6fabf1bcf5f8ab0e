/// A tensor's range of the flat gradient, and how it is coded.
public struct ExchangeRange: Sendable {
  /// Its elements of the flat gradient.
  public let range: Range<Int>
  /// Elements that share a scale: the row length where rows differ in size, as in an embedding; else 256.
  public let blockLength: Int
  /// For messages.
  public let name: String

  /// A tensor's range; all values must be the same on all ranks.
  public init(range: Range<Int>, blockLength: Int, name: String) {
    precondition(blockLength > 0, "blocks have elements")
    self.range = range
    self.blockLength = blockLength
    self.name = name
  }
}

/// A matrix within the flat gradient of which a step touches few rows, in addition to its dense gradient.
public struct SparseRows: Sendable {
  /// Where the matrix begins in the flat gradient; one of the exchange's ranges begins there too, others may follow.
  public let offset: Int
  /// The length of a row.
  public let width: Int
  /// The rows of the matrix.
  public let rowCount: Int
  /// The most rows one rank can touch in one step; the same on all ranks.
  public let maximumRowCount: Int

  /// Rows of the matrix whose range begins at `offset`.
  public init(offset: Int, width: Int, rowCount: Int, maximumRowCount: Int) {
    precondition(width > 0 && rowCount >= 0 && maximumRowCount >= 0, "rows have elements")
    self.offset = offset
    self.width = width
    self.rowCount = rowCount
    self.maximumRowCount = maximumRowCount
  }

  /// Where the matrix lies in the flat gradient.
  var range: Range<Int> { offset..<offset + rowCount * width }
}

/// What is chosen for a whole exchange; the same on all ranks.
public struct ExchangeConfiguration: Sendable {
  /// The codec of steps that do not flush, until another one is chosen.
  public let codec: Codec
  /// The size of a bucket, in bytes of 32-bit floats.
  public let bucketByteCount: Int
  /// The most ranks that are taken for one node; nil for all that share memory.
  public let ranksPerNode: Int?
  /// How long to wait for other ranks; nil: for ever.
  public let stallLimits: StallLimits?

  /// A configuration; buckets have 16 MiB unless said otherwise.
  public init(
    codec: Codec, bucketByteCount: Int = 16 << 20, ranksPerNode: Int? = nil, stallLimits: StallLimits? = nil
  ) {
    precondition(bucketByteCount >= 4, "a bucket holds a value")
    self.ranksPerNode = ranksPerNode
    self.codec = codec
    self.bucketByteCount = bucketByteCount
    self.stallLimits = stallLimits
  }
}

/// What one rank's exchange of one step cost.
public struct ExchangeReport: Sendable, Equatable {
  /// The codec of this step.
  public let codec: Codec
  /// What the sent values would be as 32-bit floats, in bytes.
  public internal(set) var rawByteCount = 0
  /// The bytes sent.
  public internal(set) var wireByteCount = 0
  /// Seconds of adding residuals, coding and compressing, beside the wire where there are several buckets.
  public internal(set) var encodeSeconds = 0.0
  /// Seconds of sending, receiving and waiting for other ranks.
  public internal(set) var wireSeconds = 0.0
  /// Seconds of decompressing, decoding and adding.
  public internal(set) var decodeSeconds = 0.0
  /// Seconds the communication thread worked for this step, waiting included.
  public internal(set) var totalSeconds = 0.0
  /// Seconds `finish` made its caller wait.
  public internal(set) var exposedSeconds = 0.0
  /// Each stretch of work; nil unless the step was traced.
  public internal(set) var trace: ExchangeTrace?

  init(codec: Codec, isTraced: Bool = false, worker: ExchangeTrace.Worker = .communication) {
    self.codec = codec
    trace = isTraced ? ExchangeTrace(of: worker) : nil
  }

  /// Takes in what the coding thread did meanwhile.
  mutating func add(_ coding: ExchangeReport) {
    rawByteCount += coding.rawByteCount
    wireByteCount += coding.wireByteCount
    encodeSeconds += coding.encodeSeconds
    decodeSeconds += coding.decodeSeconds
    if let spans = coding.trace { trace?.add(spans) }
  }

  /// Takes in what was done for the same step apart from it.
  public mutating func add(apart other: ExchangeReport) {
    add(other)
    wireSeconds += other.wireSeconds
    totalSeconds += other.totalSeconds
    exposedSeconds += other.exposedSeconds
  }
}
