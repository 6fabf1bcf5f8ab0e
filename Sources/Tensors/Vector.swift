/// A view of contiguous elements that an `Arena` owns: token ids, or losses in double precision.
///
/// Sendable because a view carries no ownership; two tasks never write the same elements.
package struct Vector<Element: BitwiseCopyable>: @unchecked Sendable {
  /// The first element.
  package let data: UnsafeMutablePointer<Element>
  package let count: Int

  /// Views `count` elements at `data`.
  package init(_ data: UnsafeMutablePointer<Element>, count: Int) {
    self.data = data
    self.count = count
  }

  package subscript(index: Int) -> Element {
    get { data[index] }
    nonmutating set { data[index] = newValue }
  }

  /// The view of some elements.
  package subscript(range: Range<Int>) -> Vector {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "elements \(range) of \(count)")
    return Vector(data + range.lowerBound, count: range.count)
  }

  /// The elements without a copy, valid as long as the memory behind the vector.
  package var buffer: UnsafeMutableBufferPointer<Element> {
    UnsafeMutableBufferPointer(start: data, count: count)
  }

  /// Sets every element.
  package func fill(_ value: Element) { data.update(repeating: value, count: count) }

  /// A copy of the elements.
  package var elements: [Element] { Array(buffer) }
}
