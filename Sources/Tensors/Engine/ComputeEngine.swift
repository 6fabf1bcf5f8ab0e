import CKernels

/// Where matrix products and loops run: the library, the precision of its operands, and how many threads of this rank
/// they may use.
///
/// One thread at a time computes on an engine. Its other threads are its own, and each calls the libraries for itself
/// alone: a loop and the products within it are cut once, and no two pools of threads compete.
public final class ComputeEngine: Sendable {
  /// The most threads that compute at once, the calling one included.
  public let threadCount: Int
  /// Why `precision` is not the one asked for; nil when it is.
  public let precisionNote: String?
  let multiplier: any Multiplier
  private let team: ThreadTeam
  private let scratch: [TemporaryMemory]
  /// Memory for what lives no longer than one call: the exponentials of a chunk of logits, the packed right-hand matrix of a
  /// weight gradient.
  public let temporaryMemory = TemporaryMemory()

  /// Which library multiplies.
  public enum Library: String, CaseIterable, Sendable {
    /// oneDNN where the build and the processor have it, OpenBLAS elsewhere.
    case automatic
    /// OpenBLAS, the reference.
    case openBLAS
  }

  /// An engine of `threadCount` threads; the calling thread's denormals are flushed to zero from here on.
  ///
  /// Where build or processor lack products of bfloat16 operands, they are fp32 and `precisionNote` says why.
  public init(threadCount: Int, precision: Precision = .float32, library: Library = .automatic) {
    precondition(threadCount > 0, "an engine needs a thread")
    self.threadCount = threadCount
    let choice = chooseMultiplier(threadCount: threadCount, precision: precision, library: library)
    let multiplier = choice.multiplier
    self.multiplier = multiplier
    precisionNote = choice.note
    scratch = (0..<threadCount).map { _ in TemporaryMemory() }
    team = ThreadTeam(threadCount: threadCount) {
      CKernels_flushDenormals()
      multiplier.prepareThread()
    }
    prepareThread()
  }

  /// Whether this build has oneDNN.
  package static var hasOneDNN: Bool {
    #if canImport(CDNNL)
      true
    #else
      false
    #endif
  }

  /// Makes the calling thread fit to compute: it treats denormal numbers as zero, and libraries use it alone.
  public func prepareThread() {
    CKernels_flushDenormals()
    multiplier.prepareThread()
  }

  /// The library that multiplies, as checkpoints and logs name it.
  public var name: String { multiplier.name }

  /// What the operands of products are rounded to.
  public var precision: Precision { multiplier.precision }

  /// The CPU level that the library chose, in its own words.
  public var cpuLevel: String { multiplier.cpuLevel }

  /// Library, version, instruction set, precision and threads in a few words.
  public var summary: String {
    "\(multiplier.version), \(cpuLevel), \(precision.rawValue), \(threadCount) thread\(threadCount == 1 ? "" : "s")"
  }

  /// Runs `body` over parts of `0..<count`, on as many threads as pay for parts
  /// of at least `minimumPartCount`.
  ///
  /// The parts depend on the counts alone; a body writes only what belongs to its part.
  public func forEachPart(
    of count: Int, minimumPartCount: Int, _ body: @Sendable (Range<Int>) -> Void
  ) {
    forEachPart(of: count, minimumPartCount: minimumPartCount) { _, range in body(range) }
  }

  /// `forEachPart` whose body also multiplies, through the worker it is given.
  public func forEachPart(
    of count: Int, minimumPartCount: Int, _ body: @Sendable (Worker, Range<Int>) -> Void
  ) {
    let partCount = min(threadCount, max(1, count / max(1, minimumPartCount)))
    guard partCount > 1 else {
      body(worker(0), 0..<count)
      return
    }
    team.run { index in
      guard index < partCount else { return }
      body(worker(index), count * index / partCount..<count * (index + 1) / partCount)
    }
  }

  /// Runs `body` once on every thread.
  public func forEachWorker(_ body: @Sendable (Worker) -> Void) {
    team.run { body(worker($0)) }
  }

  private func worker(_ index: Int) -> Worker {
    Worker(index: index, multiplier: multiplier, scratch: scratch[index])
  }
}

/// oneDNN where it can do what is asked, else OpenBLAS; with the reason where the precision is another one.
private func chooseMultiplier(
  threadCount: Int, precision: Precision, library: ComputeEngine.Library
) -> (multiplier: any Multiplier, note: String?) {
  guard library == .automatic else {
    return (
      OpenBLASMultiplier(), precision == .float32 ? nil : "OpenBLAS multiplies fp32 only"
    )
  }
  #if canImport(CDNNL)
    if let multiplier = OneDNNMultiplier(precision: precision, threadCount: threadCount) {
      return (multiplier, nil)
    }
    let note = precision == .float32 ? nil : "this processor has no products of bfloat16 numbers"
    if let multiplier = OneDNNMultiplier(precision: .float32, threadCount: threadCount) {
      return (multiplier, note)
    }
    return (OpenBLASMultiplier(), note)
  #else
    let note = precision == .float32 ? nil : "this build has no oneDNN, which multiplies bfloat16 numbers"
    return (OpenBLASMultiplier(), note)
  #endif
}
