/// Memory for a matrix in the engine's precision; empty where that is fp32.
package final class OperandMemory: Sendable {
  private let bytes: Vector<UInt8>
  private let capacity: Int
  private let arena: Arena

  init(elementCount: Int, precision: Precision, in arena: Arena) {
    self.arena = arena
    capacity = precision == .float32 ? 0 : elementCount
    bytes = arena.vector(of: UInt8.self, count: capacity * precision.byteCount)
  }

  package var byteCount: Int { bytes.count }

  /// The last matrix of this shape rounded into it; the matrix itself where nothing is rounded.
  package func operand(of matrix: Matrix) -> Operand {
    guard capacity > 0 else { return Operand(matrix) }
    precondition(matrix.count <= capacity, "at most \(capacity) elements")
    return Operand(
      UnsafeMutableRawPointer(bytes.data), .bfloat16,
      rowCount: matrix.rowCount, columnCount: matrix.columnCount)
  }
}

extension ComputeEngine {
  /// Memory for `elementCount` elements in the engine's precision.
  package func operandMemory(elementCount: Int, in arena: Arena = Arena()) -> OperandMemory {
    OperandMemory(elementCount: elementCount, precision: precision, in: arena)
  }

  /// The matrix as an operand of products: itself in fp32, else rounded into `memory`.
  package func rounded(_ matrix: Matrix, in memory: OperandMemory) -> Operand {
    let operand = memory.operand(of: matrix)
    guard operand.precision == .bfloat16 else { return operand }
    forEachRowPart(of: matrix) { rows in
      round(matrix.rows(rows), into: operand.elements(ofRow: rows.lowerBound, as: UInt16.self))
    }
    return operand
  }

  /// The same for a shard's rows only; the others must not be read.
  package func rounded(_ matrix: Matrix, _ shard: RowShard, in memory: OperandMemory) -> Operand {
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
