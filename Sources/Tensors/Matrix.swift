/// A view of row-major fp32 memory that something else owns: an `Arena` or a `ParameterBuffer`.
///
/// Sendable because a view carries no ownership; two tasks never write the same rows.
public struct Matrix: @unchecked Sendable {
  /// The first element of the first row.
  public let data: UnsafeMutablePointer<Float>
  /// How many rows there are.
  public let rowCount: Int
  /// How many columns a row has.
  public let columnCount: Int
  /// How many elements lie between the starts of two rows; at least `columnCount`.
  public let stride: Int

  /// Views `rowCount × columnCount` elements at `data`, rows `stride` apart (next
  /// to each other when left out).
  public init(_ data: UnsafeMutablePointer<Float>, rowCount: Int, columnCount: Int, stride: Int? = nil) {
    self.data = data
    self.rowCount = rowCount
    self.columnCount = columnCount
    self.stride = stride ?? columnCount
    precondition(
      rowCount >= 0 && columnCount >= 0 && self.stride >= columnCount, "a matrix of impossible shape")
  }

  /// How many elements the view shows.
  public var count: Int { rowCount * columnCount }

  /// Whether the rows lie next to each other.
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
    precondition(isContiguous && rowCount * columnCount == count, "a shape that does not fit the elements")
    return Matrix(data, rowCount: rowCount, columnCount: columnCount)
  }

  /// Sets every element.
  public func fill(_ value: Float) {
    for index in 0..<rowCount { row(index).update(repeating: value, count: columnCount) }
  }

  /// Takes over the elements of a matrix of the same shape.
  public func copy(from source: Matrix) {
    precondition(source.rowCount == rowCount && source.columnCount == columnCount, "matrices of two shapes")
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
    precondition(isContiguous, "bytes of rows that are not contiguous")
    return UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(start: data, count: count))
  }
}
