/// A library of matrix products, by its name in checkpoints and logs.
package enum ProductLibrary: String, Sendable {
  case oneDNN = "onednn"
  case openBLAS = "openblas"
}

/// Single-threaded matrix products of one library, called by threads that partition the work themselves.
///
/// Each thread is a `worker` with its own index and scratch memory.
protocol Multiplier: Sendable {
  var library: ProductLibrary { get }
  /// The library and its version, for display.
  var version: String { get }
  /// The instruction set that the library selected, by the library's name.
  var cpuLevel: String { get }
  /// The precision of operands.
  var precision: Precision { get }

  /// Called on every thread before its first product.
  func prepareThread()

  /// Whether operands may be views of wider matrices; otherwise their rows, or their columns, are contiguous.
  var readsViews: Bool { get }

  /// `c = a·b`, or `c += a·b` when adding; both operands in `precision`.
  func multiply(_ a: Operand, _ b: Operand, into c: Matrix, adding: Bool, worker: Int)

  /// `c = a·b`, or `c += a·b` when adding; a in `precision`.
  func multiply(_ a: Operand, _ b: PackedBlock, into c: Matrix, adding: Bool, worker: Int)

  /// The bytes of a packed block of this shape; 0 where the library reads matrices unpacked.
  func packedByteCount(rowCount: Int, columnCount: Int) -> Int

  /// Converts the block's source into the library's preferred layout.
  func pack(_ block: PackedBlock, worker: Int)
}
