/// What the operands of matrix products are; sums are always fp32.
public enum Precision: String, CaseIterable, Sendable, Codable {
  /// The upper half of fp32: 8 bits of mantissa, the same range.
  case bfloat16
  /// Single precision.
  case float32

  /// How many bytes an operand's element takes.
  public var byteCount: Int {
    switch self {
    case .bfloat16: 2
    case .float32: 4
    }
  }
}

/// A view of a matrix as a product reads it: elements of some precision, rows or columns contiguous.
///
/// Sendable because a view carries no ownership, like `Matrix`.
public struct Operand: @unchecked Sendable {
  /// What an element is.
  public let precision: Precision
  /// How many rows there are.
  public let rowCount: Int
  /// How many columns there are.
  public let columnCount: Int
  /// How many elements lie between two rows; 1 when it is the transposed view of a matrix.
  let rowStride: Int
  /// How many elements lie between two columns; 1 unless it is the transposed view of a matrix.
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

  /// The elements of a matrix, as they are.
  public init(_ matrix: Matrix) {
    self.init(
      UnsafeMutableRawPointer(matrix.data), .float32, rowCount: matrix.rowCount,
      columnCount: matrix.columnCount, rowStride: matrix.stride, columnStride: 1)
  }

  /// Contiguous rows at `data`.
  public init(_ data: UnsafeMutableRawPointer, _ precision: Precision, rowCount: Int, columnCount: Int) {
    self.init(
      data, precision, rowCount: rowCount, columnCount: columnCount, rowStride: columnCount, columnStride: 1)
  }

  /// Rows and columns changed over; nothing is moved.
  public var transposed: Operand {
    Operand(
      data, precision, rowCount: columnCount, columnCount: rowCount, rowStride: columnStride,
      columnStride: rowStride)
  }

  /// The view of some rows.
  public func rows(_ range: Range<Int>) -> Operand {
    precondition(range.lowerBound >= 0 && range.upperBound <= rowCount, "rows \(range) of \(rowCount)")
    return Operand(
      data + range.lowerBound * rowStride * precision.byteCount, precision, rowCount: range.count,
      columnCount: columnCount, rowStride: rowStride, columnStride: columnStride)
  }

  /// The first element of a row, whose elements are contiguous.
  public func elements<Element>(ofRow row: Int, as type: Element.Type) -> UnsafeMutablePointer<Element> {
    (data + row &* rowStride &* precision.byteCount).assumingMemoryBound(to: type)
  }

  /// The view of some columns.
  public func columns(_ range: Range<Int>) -> Operand { transposed.rows(range).transposed }
}
