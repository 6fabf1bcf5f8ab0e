import CKernels

/// One thread in a part of `forEachPart`: sequential products, with scratch memory of its own.
package struct Worker: Sendable {
  /// Its index, below the engine's `threadCount`.
  package let index: Int
  let multiplier: any Multiplier
  let scratch: TemporaryMemory

  /// `c = a·b`, or `c += a·b` when adding; both operands in the engine's precision.
  package func multiply(_ a: Operand, _ b: Operand, into c: Matrix, adding: Bool = false) {
    precondition(
      a.columnCount == b.rowCount && a.rowCount == c.rowCount && b.columnCount == c.columnCount,
      "shapes of a product")
    multiplier.multiply(a, b, into: c, adding: adding, worker: index)
  }

  /// `c = a·b` for one panel of b, a matrix packed from one source; a in the engine's precision.
  package func multiply(_ a: Operand, _ b: PackedMatrix, panel: Int, into c: Matrix) {
    let panel = b.panels[panel]
    precondition(
      panel.blocks.count == 1 && a.columnCount == b.rowCount && a.rowCount == c.rowCount
        && panel.columns.count == c.columnCount, "shapes of a product")
    multiplier.multiply(a, panel.blocks[0], into: c, adding: false, worker: index)
  }

  /// Row i of the matrix times `scales[i, 0]`, in the engine's precision, valid until the next call.
  package func scaledRows(of matrix: Matrix, by scales: Matrix) -> Operand {
    let precision = multiplier.precision
    let scaled = Operand(
      scratch.memory(byteCount: matrix.count * precision.byteCount), precision, rowCount: matrix.rowCount,
      columnCount: matrix.columnCount)
    for row in 0..<matrix.rowCount {
      switch precision {
      case .bfloat16:
        CKernels_scaleToBFloat16(
          matrix.row(row), scales[row, 0], matrix.columnCount, scaled.elements(ofRow: row, as: UInt16.self))
      case .float32:
        CKernels_scale(
          matrix.row(row), scales[row, 0], scaled.elements(ofRow: row, as: Float.self), matrix.columnCount)
      }
    }
    return scaled
  }

  /// The matrix in the engine's precision, its rows contiguous at `memory`.
  package func operand(_ matrix: Matrix, at memory: UnsafeMutableRawPointer) -> Operand {
    let operand = Operand(
      memory, multiplier.precision, rowCount: matrix.rowCount, columnCount: matrix.columnCount)
    switch operand.precision {
    case .bfloat16:
      round(matrix, into: operand.elements(ofRow: 0, as: UInt16.self))
    case .float32:
      for row in 0..<matrix.rowCount {
        operand.elements(ofRow: row, as: Float.self).update(from: matrix.row(row), count: matrix.columnCount)
      }
    }
    return operand
  }

  /// For each block, the columns of a matrix that are multiplied with it: contiguous, in the engine's precision, valid until the
  /// next call; the matrix itself where the library can read it.
  func operands(_ matrix: Matrix, cutAt blocks: [PackedBlock]) -> CutOperand {
    guard !multiplier.readsViews else { return CutOperand(whole: Operand(matrix), isCut: false) }
    let precision = multiplier.precision
    let whole = Operand(
      scratch.memory(byteCount: matrix.count * precision.byteCount), precision, rowCount: matrix.rowCount,
      columnCount: matrix.columnCount)
    let cut = CutOperand(whole: whole, isCut: true)
    for block in blocks {
      let (source, target) = (matrix.columns(block.rows), cut.columns(block.rows))
      for row in 0..<source.rowCount {
        switch precision {
        case .bfloat16:
          CKernels_roundToBFloat16(
            source.row(row), source.columnCount, target.elements(ofRow: row, as: UInt16.self))
        case .float32:
          target.elements(ofRow: row, as: Float.self).update(from: source.row(row), count: source.columnCount)
        }
      }
    }
    return cut
  }

  /// The transpose of the matrix in the engine's precision, valid until the next call.
  func roundedTransposed(_ matrix: Matrix) -> Operand {
    let precision = multiplier.precision
    let memory = scratch.memory(byteCount: matrix.count * precision.byteCount)
    switch precision {
    case .bfloat16:
      CKernels_transposeToBFloat16(
        matrix.data, matrix.rowCount, matrix.columnCount, matrix.stride,
        memory.assumingMemoryBound(to: UInt16.self))
    case .float32:
      CKernels_transpose(
        matrix.data, matrix.rowCount, matrix.columnCount, matrix.stride,
        memory.assumingMemoryBound(to: Float.self))
    }
    return Operand(memory, precision, rowCount: matrix.columnCount, columnCount: matrix.rowCount)
  }
}

/// Rounds the rows of a matrix, one after the other.
func round(_ matrix: Matrix, into memory: UnsafeMutablePointer<UInt16>) {
  if matrix.isContiguous {
    CKernels_roundToBFloat16(matrix.data, matrix.count, memory)
  } else {
    for row in 0..<matrix.rowCount {
      CKernels_roundToBFloat16(matrix.row(row), matrix.columnCount, memory + row * matrix.columnCount)
    }
  }
}

/// A matrix whose columns are stored as several contiguous groups.
struct CutOperand {
  let whole: Operand
  let isCut: Bool

  /// One of the groups.
  func columns(_ range: Range<Int>) -> Operand {
    guard isCut else { return whole.columns(range) }
    return Operand(
      whole.data + whole.rowCount * range.lowerBound * whole.precision.byteCount, whole.precision,
      rowCount: whole.rowCount, columnCount: range.count)
  }
}
