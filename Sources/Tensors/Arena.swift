/// Blocks of zeroed, 64-byte aligned memory, allocated before the first step and freed together.
///
/// The pages of a large block exist once they are touched. Views do not keep the arena alive: their user holds it, by
/// `withExtendedLifetime` where it is a local variable. One thread allocates, before the first step; any thread may use the
/// views.
///
/// A counting arena adds up what its callers would allocate, without allocating: memory is predicted by the initializers
/// that allocate it. Its views have shapes but no elements.
package final class Arena: @unchecked Sendable {
  private var blocks: [ZeroedMemory] = []
  /// The bytes allocated, or counted.
  package private(set) var byteCount = 0
  /// Whether nothing is allocated.
  package let isCounting: Bool

  /// An empty arena.
  package init(counting: Bool = false) { isCounting = counting }

  /// A matrix of zeros.
  package func matrix(rowCount: Int, columnCount: Int) -> Matrix {
    Matrix(allocate(Float.self, count: rowCount * columnCount), rowCount: rowCount, columnCount: columnCount)
  }

  /// `count` zeroed elements of a type for which all bits zero is a value.
  package func vector<Element: BitwiseCopyable>(of type: Element.Type, count: Int) -> Vector<Element> {
    Vector(allocate(type, count: count), count: count)
  }

  /// Adds bytes that belong to this arena's owner but lie elsewhere.
  package func count(byteCount: Int) { self.byteCount += byteCount }

  private func allocate<Element: BitwiseCopyable>(
    _ type: Element.Type, count: Int
  ) -> UnsafeMutablePointer<Element> {
    let size = max(count * MemoryLayout<Element>.stride, 1)
    byteCount += size
    guard !isCounting else { return Self.unmapped.assumingMemoryBound(to: type) }
    let block = ZeroedMemory(byteCount: size)
    blocks.append(block)
    return block.start.bindMemory(to: type, capacity: max(count, 1))
  }

  /// The address of views without elements: reading it is a segmentation fault.
  private static var unmapped: UnsafeMutableRawPointer {
    guard let address = UnsafeMutableRawPointer(bitPattern: 64) else { preconditionFailure("a null address") }
    return address
  }
}
