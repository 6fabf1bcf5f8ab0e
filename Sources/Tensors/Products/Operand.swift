/// The number format of the operands of matrix products; sums are always fp32.
package enum Precision: String, CaseIterable, Sendable, Codable {
  /// The upper half of fp32: 8 bits of mantissa, the same range.
  case bfloat16
  /// Single precision.
  case float32

  /// The bytes of an element.
  package var byteCount: Int {
    switch self {
    case .bfloat16: 2
    case .float32: 4
    }
  }
}

/// A view of a matrix as an operand of a product: elements of some precision, rows or columns contiguous.
///
/// Sendable because a view carries no ownership, like `Matrix`.
package struct Operand: @unchecked Sendable {
  /// The precision of an element.
  package let precision: Precision
  package let rowCount: Int
  package let columnCount: Int
  /// The number of elements between two rows; 1 for a transposed view.
  let rowStride: Int
  /// The number of elements between two columns; 1 except for a transposed view.
  let columnStride: Int
  let data: UnsafeMutableRawPointer

  init(
    _ data: UnsafeMutableRawPointer, _ precision: Precision, rowCount: Int, columnCount: Int, rowStride: Int,
    columnStride: Int
  ) {
    self.data = data
    self.precision = precision
    self.rowCount = rowCount
    self.columnCount = columnCount
    self.rowStride = rowStride
    self.columnStride = columnStride
  }

  /// The elements of a matrix, without conversion.
  package init(_ matrix: Matrix) {
    self.init(
      UnsafeMutableRawPointer(matrix.data), .float32, rowCount: matrix.rowCount,
      columnCount: matrix.columnCount, rowStride: matrix.stride, columnStride: 1)
  }

  /// Contiguous rows at `data`.
  package init(_ data: UnsafeMutableRawPointer, _ precision: Precision, rowCount: Int, columnCount: Int) {
    self.init(
      data, precision, rowCount: rowCount, columnCount: columnCount, rowStride: columnCount, columnStride: 1)
  }

  /// The transposed view.
  package var transposed: Operand {
    Operand(
      data, precision, rowCount: columnCount, columnCount: rowCount, rowStride: columnStride,
      columnStride: rowStride)
  }

  /// The view of some rows.
  package func rows(_ range: Range<Int>) -> Operand {
    precondition(range.lowerBound >= 0 && range.upperBound <= rowCount, "rows \(range) of \(rowCount)")
    return Operand(
      data + range.lowerBound * rowStride * precision.byteCount, precision, rowCount: range.count,
      columnCount: columnCount, rowStride: rowStride, columnStride: columnStride)
  }

  /// The first element of a row, whose elements are contiguous.
  package func elements<Element>(ofRow row: Int, as type: Element.Type) -> UnsafeMutablePointer<Element> {
    (data + row &* rowStride &* precision.byteCount).assumingMemoryBound(to: type)
  }

  /// The view of some columns.
  package func columns(_ range: Range<Int>) -> Operand { transposed.rows(range).transposed }
}
