/// Sequential matrix products of one library, for threads that share the work out themselves.
///
/// Every thread is a `worker` with a number of its own; what a call needs for a while belongs to the worker.
protocol Multiplier: Sendable {
  /// The library, as checkpoints and logs name it.
  var name: String { get }
  /// The library and its version, for people.
  var version: String { get }
  /// The instruction set that the library has chosen, in its own words.
  var cpuLevel: String { get }
  /// What operands are rounded to.
  var precision: Precision { get }

  /// Due on every thread before its first product.
  func prepareThread()

  /// Whether operands may be views of wider matrices; else their rows, or their columns, follow each other.
  var readsViews: Bool { get }

  /// `c = a·b`, or `c += a·b` when adding; both operands in `precision`.
  func multiply(_ a: Operand, _ b: Operand, into c: Matrix, adding: Bool, worker: Int)

  /// `c = a·b`, or `c += a·b` when adding; a in `precision`.
  func multiply(_ a: Operand, _ b: PackedBlock, into c: Matrix, adding: Bool, worker: Int)

  /// How many bytes a block of this shape takes when it is packed; 0 where the library reads matrices as they are.
  func packedByteCount(rowCount: Int, columnCount: Int) -> Int

  /// Brings the block's source into the layout in which the library multiplies quickest.
  func pack(_ block: PackedBlock, worker: Int)
}
