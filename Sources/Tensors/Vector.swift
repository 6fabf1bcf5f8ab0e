/// A view of contiguous elements that an `Arena` owns: token ids, or losses in double precision.
///
/// Sendable because a view carries no ownership; two tasks never write the same elements.
public struct Vector<Element: BitwiseCopyable>: @unchecked Sendable {
  /// The first element.
  public let data: UnsafeMutablePointer<Element>
  /// The number of elements.
  public let count: Int

  /// Views `count` elements at `data`.
  public init(_ data: UnsafeMutablePointer<Element>, count: Int) {
    self.data = data
    self.count = count
  }

  /// The element at an index.
  public subscript(index: Int) -> Element {
    get { data[index] }
    nonmutating set { data[index] = newValue }
  }

  /// The view of some elements.
  public subscript(range: Range<Int>) -> Vector {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "elements \(range) of \(count)")
    return Vector(data + range.lowerBound, count: range.count)
  }

  /// The elements as a buffer.
  public var buffer: UnsafeMutableBufferPointer<Element> {
    UnsafeMutableBufferPointer(start: data, count: count)
  }

  /// Sets every element.
  public func fill(_ value: Element) { data.update(repeating: value, count: count) }

  /// The elements in an array.
  public var elements: [Element] { Array(buffer) }
}
