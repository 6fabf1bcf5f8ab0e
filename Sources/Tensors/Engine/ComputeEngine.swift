import CKernels

/// Executes matrix products and loops: the library, the precision of its operands, and the number of threads of this rank.
///
/// One thread at a time computes on an engine. The engine owns the other threads, each of which calls the libraries
/// single-threaded: a loop and the products within it are partitioned once, and no two thread pools compete.
package final class ComputeEngine: Sendable {
  /// The number of compute threads, including the calling one.
  package let threadCount: Int
  /// Why `precision` differs from the requested one; nil where it does not.
  package let precisionNote: String?
  let multiplier: any Multiplier
  private let team: ThreadTeam
  private let scratch: [TemporaryMemory]
  /// Scratch memory of one call: the exponentials of a chunk of logits, or the packed right-hand matrix of a weight gradient.
  package let temporaryMemory = TemporaryMemory()

  /// The library of matrix products.
  package enum Library: String, CaseIterable, Sendable {
    /// oneDNN where build and processor support it, OpenBLAS elsewhere.
    case automatic
    /// OpenBLAS, the reference.
    case openBLAS
  }

  /// An engine of `threadCount` threads; also sets the calling thread to flush denormals to zero.
  ///
  /// Where build or processor do not support products of bfloat16 operands, they are fp32 and `precisionNote` states the reason.
  /// Throws where a thread cannot be started.
  package convenience init(
    threadCount: Int, precision: Precision = .float32, library: Library = .automatic
  ) throws {
    precondition(threadCount > 0, "at least one thread")
    let choice = chooseMultiplier(threadCount: threadCount, precision: precision, library: library)
    self.init(
      choice,
      team: try ThreadTeam(threadCount: threadCount) {
        CKernels_flushDenormals()
        choice.multiplier.prepareThread()
      })
  }

  /// An engine of the calling thread alone; see `init(threadCount:precision:library:)`.
  package convenience init(precision: Precision = .float32, library: Library = .automatic) {
    self.init(chooseMultiplier(threadCount: 1, precision: precision, library: library), team: ThreadTeam())
  }

  private init(_ choice: (multiplier: any Multiplier, note: String?), team: ThreadTeam) {
    threadCount = team.threadCount
    multiplier = choice.multiplier
    precisionNote = choice.note
    scratch = (0..<team.threadCount).map { _ in TemporaryMemory() }
    self.team = team
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

  /// The instruction sets of matrix products that this process may use, by the names of `/proc/cpuinfo`.
  ///
  /// Unlike that file's, they are those of an emulator or a virtual machine.
  package static var instructionSets: [String] {
    (0..<CInt(CKernels_instructionSetCount.rawValue)).filter(CKernels_hasInstructionSet).map {
      String(cString: CKernels_instructionSetName($0))
    }
  }

  /// Prepares the calling thread: denormal numbers are flushed to zero, and libraries run single-threaded.
  package func prepareThread() {
    CKernels_flushDenormals()
    multiplier.prepareThread()
  }

  /// The library that computes, whichever was requested.
  package var library: ProductLibrary { multiplier.library }

  /// The name of the library in checkpoints and logs.
  package var name: String { library.rawValue }

  /// The precision of the operands of products.
  package var precision: Precision { multiplier.precision }

  /// The instruction set that the library selected, by the library's name.
  package var cpuLevel: String { multiplier.cpuLevel }

  /// Library, version, instruction set, precision and threads, for display.
  package var summary: String {
    "\(multiplier.version), \(cpuLevel), \(precision.rawValue), \(threadCount) thread\(threadCount == 1 ? "" : "s")"
  }

  /// Runs `body` over parts of `0..<count`, on as many threads as there are parts
  /// of at least `minimumPartCount`.
  ///
  /// The parts depend on the counts alone; a body writes to its own part only.
  package func forEachPart(
    of count: Int, minimumPartCount: Int, _ body: @Sendable (Range<Int>) -> Void
  ) {
    forEachPart(of: count, minimumPartCount: minimumPartCount) { _, range in body(range) }
  }

  /// `forEachPart` with a worker, for matrix products in the body.
  package func forEachPart(
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
  package func forEachWorker(_ body: @Sendable (Worker) -> Void) {
    team.run { body(worker($0)) }
  }

  private func worker(_ index: Int) -> Worker {
    Worker(index: index, multiplier: multiplier, scratch: scratch[index])
  }
}

/// oneDNN where it supports the request, else OpenBLAS; with the reason where the precision differs from the requested one.
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
