import CKernels
import COpenBLAS
import Dispatch

/// Where matrix products and loops run: the library, and how many threads of this rank they may use.
///
/// OpenBLAS keeps its thread count for the whole process, so a process makes
/// its engines with one `threadCount`.
public final class ComputeEngine: Sendable {
  /// The most threads that compute at once.
  public let threadCount: Int

  /// An engine of `threadCount` threads; the calling thread's denormals are flushed to zero from here on.
  public init(threadCount: Int) {
    precondition(threadCount > 0, "an engine needs a thread")
    self.threadCount = threadCount
    flushDenormals()
    _ = Self.libraryThreadsFlushDenormals
    openblas_set_num_threads(Int32(threadCount))
  }

  /// Ends the threads that OpenBLAS started when the program was loaded, once, before the first product.
  ///
  /// Those that it starts later inherit the mode of the thread that has them started.
  private static let libraryThreadsFlushDenormals: Void = {
    CKernels_flushDenormals()
    blas_thread_shutdown_()
  }()

  /// Makes the calling thread treat denormal numbers as zero: due on every thread that computes.
  public func flushDenormals() { CKernels_flushDenormals() }

  /// The library that multiplies, as checkpoints and logs name it.
  public var name: String { "openblas" }

  /// What products are computed in, as checkpoints and logs name it.
  public var precision: String { "float32" }

  /// The CPU level that the library chose, in its own words.
  public var cpuLevel: String { String(cString: openblas_get_corename()) }

  /// `c = a·b`, or `c += a·b` when adding; a is m × k, b is k × n, c is m × n.
  public func multiply(_ a: Matrix, _ b: Matrix, into c: Matrix, adding: Bool = false) {
    precondition(
      a.columnCount == b.rowCount && a.rowCount == c.rowCount && b.columnCount == c.columnCount,
      "shapes of a product")
    product(CblasNoTrans, a, CblasNoTrans, b, depth: a.columnCount, c, adding)
  }

  /// `c = a·bᵀ`, or `c += a·bᵀ` when adding; a is m × k, b is n × k, c is m × n.
  public func multiply(_ a: Matrix, transposed b: Matrix, into c: Matrix, adding: Bool = false) {
    precondition(
      a.columnCount == b.columnCount && a.rowCount == c.rowCount && b.rowCount == c.columnCount,
      "shapes of a product")
    product(CblasNoTrans, a, CblasTrans, b, depth: a.columnCount, c, adding)
  }

  /// `c = aᵀ·b`, or `c += aᵀ·b` when adding; a is k × m, b is k × n, c is m × n.
  public func multiply(transposed a: Matrix, _ b: Matrix, into c: Matrix, adding: Bool = false) {
    precondition(
      a.rowCount == b.rowCount && a.columnCount == c.rowCount && b.columnCount == c.columnCount,
      "shapes of a product")
    product(CblasTrans, a, CblasNoTrans, b, depth: a.rowCount, c, adding)
  }

  /// Runs `body` over parts of `0..<count`, on as many threads as pay for parts
  /// of at least `minimumPartCount`.
  ///
  /// The parts depend on the counts alone; a body writes only what belongs to its part.
  public func forEachPart(
    of count: Int, minimumPartCount: Int, _ body: @Sendable (Range<Int>) -> Void
  ) {
    let partCount = min(threadCount, max(1, count / max(1, minimumPartCount)))
    guard partCount > 1 else {
      body(0..<count)
      return
    }
    DispatchQueue.concurrentPerform(iterations: partCount) { part in
      CKernels_flushDenormals()
      body(count * part / partCount..<count * (part + 1) / partCount)
    }
  }

  private func product(
    _ aTransposition: CBLAS_TRANSPOSE, _ a: Matrix, _ bTransposition: CBLAS_TRANSPOSE, _ b: Matrix,
    depth: Int,
    _ c: Matrix, _ adding: Bool
  ) {
    guard c.count > 0 else { return }
    cblas_sgemm(
      CblasRowMajor, aTransposition, bTransposition, blasint(c.rowCount), blasint(c.columnCount),
      blasint(depth),
      1, a.data, blasint(a.stride), b.data, blasint(b.stride), adding ? 1 : 0, c.data, blasint(c.stride))
  }
}
