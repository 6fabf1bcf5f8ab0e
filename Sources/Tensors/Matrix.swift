/// A view of row-major fp32 memory owned by an `Arena` or a `ParameterBuffer`.
///
/// Sendable because a view carries no ownership; two tasks never write the same rows.
public struct Matrix: @unchecked Sendable {
  /// The first element of the first row.
  public let data: UnsafeMutablePointer<Float>
  /// The number of rows.
  public let rowCount: Int
  /// The number of columns.
  public let columnCount: Int
  /// The number of elements between the starts of two rows; at least `columnCount`.
  public let stride: Int

  /// Views `rowCount × columnCount` elements at `data`, rows `stride` apart (default: contiguous).
  public init(_ data: UnsafeMutablePointer<Float>, rowCount: Int, columnCount: Int, stride: Int? = nil) {
    self.data = data
    self.rowCount = rowCount
    self.columnCount = columnCount
    self.stride = stride ?? columnCount
    precondition(
      rowCount >= 0 && columnCount >= 0 && self.stride >= columnCount, "a valid matrix shape")
  }

  /// The number of elements.
  public var count: Int { rowCount * columnCount }

  /// Whether the rows are contiguous.
  public var isContiguous: Bool { stride == columnCount || rowCount <= 1 }

  /// The element of a row and column.
  public subscript(row: Int, column: Int) -> Float {
    get { data[row &* stride &+ column] }
    nonmutating set { data[row &* stride &+ column] = newValue }
  }

  /// The first element of a row.
  public func row(_ index: Int) -> UnsafeMutablePointer<Float> { data + index &* stride }

  /// The view of some rows.
  public func rows(_ range: Range<Int>) -> Matrix {
    precondition(range.lowerBound >= 0 && range.upperBound <= rowCount, "rows \(range) of \(rowCount)")
    return Matrix(
      data + range.lowerBound * stride, rowCount: range.count, columnCount: columnCount, stride: stride)
  }

  /// The view of some columns.
  public func columns(_ range: Range<Int>) -> Matrix {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= columnCount, "columns \(range) of \(columnCount)")
    return Matrix(data + range.lowerBound, rowCount: rowCount, columnCount: range.count, stride: stride)
  }

  /// The same memory as `rowCount` rows; the elements must be contiguous and fill the rows exactly.
  public func reshaped(rowCount: Int, columnCount: Int) -> Matrix {
    precondition(isContiguous && rowCount * columnCount == count, "a shape of as many contiguous elements")
    return Matrix(data, rowCount: rowCount, columnCount: columnCount)
  }

  /// Sets every element.
  public func fill(_ value: Float) {
    for index in 0..<rowCount { row(index).update(repeating: value, count: columnCount) }
  }

  /// Copies the elements of a matrix of the same shape.
  public func copy(from source: Matrix) {
    precondition(
      source.rowCount == rowCount && source.columnCount == columnCount, "matrices of the same shape")
    for index in 0..<rowCount { row(index).update(from: source.row(index), count: columnCount) }
  }

  /// The elements, row after row, in an array.
  public var elements: [Float] {
    (0..<rowCount).flatMap { UnsafeBufferPointer(start: row($0), count: columnCount) }
  }
}

extension Matrix {
  /// All elements as bytes; the rows must be contiguous.
  package var bytes: UnsafeMutableRawBufferPointer {
    precondition(isContiguous, "contiguous rows")
    return UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(start: data, count: count))
  }
}
