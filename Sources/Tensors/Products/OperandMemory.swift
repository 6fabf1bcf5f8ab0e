/// The place for a matrix in the engine's precision; it takes no memory where that is fp32.
public final class OperandMemory: Sendable {
  private let bytes: Vector<UInt8>
  private let capacity: Int
  private let arena: Arena

  init(elementCount: Int, precision: Precision, in arena: Arena) {
    self.arena = arena
    capacity = precision == .float32 ? 0 : elementCount
    bytes = arena.vector(of: UInt8.self, count: capacity * precision.byteCount)
  }

  /// Its bytes.
  public var byteCount: Int { bytes.count }

  /// What was last rounded into it of a matrix of this shape; the matrix itself where nothing has to be rounded.
  public func operand(of matrix: Matrix) -> Operand {
    guard capacity > 0 else { return Operand(matrix) }
    precondition(matrix.count <= capacity, "more elements than there is place for")
    return Operand(
      UnsafeMutableRawPointer(bytes.data), .bfloat16,
      rowCount: matrix.rowCount, columnCount: matrix.columnCount)
  }
}

extension ComputeEngine {
  /// The place for `elementCount` elements in the engine's precision.
  public func operandMemory(elementCount: Int, in arena: Arena = Arena()) -> OperandMemory {
    OperandMemory(elementCount: elementCount, precision: precision, in: arena)
  }

  /// The matrix as products read it: itself where they multiply fp32, else rounded into `memory`.
  public func rounded(_ matrix: Matrix, in memory: OperandMemory) -> Operand {
    let operand = memory.operand(of: matrix)
    guard operand.precision == .bfloat16 else { return operand }
    forEachRowPart(of: matrix) { rows in
      round(matrix.rows(rows), into: operand.elements(ofRow: rows.lowerBound, as: UInt16.self))
    }
    return operand
  }

  /// The same of a shard's rows alone; the others are not to be read.
  public func rounded(_ matrix: Matrix, _ shard: RowShard, in memory: OperandMemory) -> Operand {
    let operand = memory.operand(of: matrix)
    guard operand.precision == .bfloat16 else { return operand }
    forEachPart(of: shard.blockCount, minimumPartCount: 1) { blocks in
      for rows in blocks.map(shard.rows(ofBlock:)) {
        round(matrix.rows(rows), into: operand.elements(ofRow: rows.lowerBound, as: UInt16.self))
      }
    }
    return operand
  }
}
