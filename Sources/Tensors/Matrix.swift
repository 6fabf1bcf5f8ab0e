/// A view of row-major fp32 memory owned by an `Arena` or a `ParameterBuffer`.
///
/// Sendable because a view carries no ownership; two tasks never write the same rows.
package struct Matrix: @unchecked Sendable {
  /// The first element of the first row.
  package let data: UnsafeMutablePointer<Float>
  package let rowCount: Int
  package let columnCount: Int
  /// The number of elements between the starts of two rows; at least `columnCount`.
  package let stride: Int

  /// Views `rowCount × columnCount` elements at `data`, rows `stride` apart (default: contiguous).
  package init(_ data: UnsafeMutablePointer<Float>, rowCount: Int, columnCount: Int, stride: Int? = nil) {
    self.data = data
    self.rowCount = rowCount
    self.columnCount = columnCount
    self.stride = stride ?? columnCount
    precondition(
      rowCount >= 0 && columnCount >= 0 && self.stride >= columnCount, "a valid matrix shape")
  }

  package var count: Int { rowCount * columnCount }

  /// Whether the rows are contiguous.
  package var isContiguous: Bool { stride == columnCount || rowCount <= 1 }

  /// The element of a row and column.
  package subscript(row: Int, column: Int) -> Float {
    get { data[row &* stride &+ column] }
    nonmutating set { data[row &* stride &+ column] = newValue }
  }

  /// The first element of a row.
  package func row(_ index: Int) -> UnsafeMutablePointer<Float> { data + index &* stride }

  /// The view of some rows.
  package func rows(_ range: Range<Int>) -> Matrix {
    precondition(range.lowerBound >= 0 && range.upperBound <= rowCount, "rows \(range) of \(rowCount)")
    return Matrix(
      data + range.lowerBound * stride, rowCount: range.count, columnCount: columnCount, stride: stride)
  }

  /// The view of some columns.
  package func columns(_ range: Range<Int>) -> Matrix {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= columnCount, "columns \(range) of \(columnCount)")
    return Matrix(data + range.lowerBound, rowCount: rowCount, columnCount: range.count, stride: stride)
  }

  /// The same memory as `rowCount` rows; the elements must be contiguous and fill the rows exactly.
  package func reshaped(rowCount: Int, columnCount: Int) -> Matrix {
    precondition(isContiguous && rowCount * columnCount == count, "a shape of as many contiguous elements")
    return Matrix(data, rowCount: rowCount, columnCount: columnCount)
  }

  /// Sets every element.
  package func fill(_ value: Float) {
    for index in 0..<rowCount { row(index).update(repeating: value, count: columnCount) }
  }

  /// Copies the elements of a matrix of the same shape.
  package func copy(from source: Matrix) {
    precondition(
      source.rowCount == rowCount && source.columnCount == columnCount, "matrices of the same shape")
    for index in 0..<rowCount { row(index).update(from: source.row(index), count: columnCount) }
  }

  /// The elements, row after row, in an array.
  package var elements: [Float] {
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
