/// Owns blocks of zeroed, 64-byte aligned memory, handed out as views before the first step and freed together.
///
/// The pages of a large block are there once they are touched. The views do not keep it alive: whoever uses them
/// holds it, by `withExtendedLifetime` where it is a local variable. Allocation is for the time of set-up and for one thread; the views may then go to any thread.
public final class Arena: @unchecked Sendable {
  private var blocks: [ZeroedMemory] = []
  /// How many bytes have been handed out.
  public private(set) var byteCount = 0

  /// Starts with no memory.
  public init() {}

  /// A matrix of zeros.
  public func matrix(rowCount: Int, columnCount: Int) -> Matrix {
    Matrix(allocate(Float.self, count: rowCount * columnCount), rowCount: rowCount, columnCount: columnCount)
  }

  /// `count` zeroed elements of a type for which all bits zero is a value.
  public func vector<Element: BitwiseCopyable>(of type: Element.Type, count: Int) -> Vector<Element> {
    Vector(allocate(type, count: count), count: count)
  }

  private func allocate<Element: BitwiseCopyable>(
    _ type: Element.Type, count: Int
  ) -> UnsafeMutablePointer<Element> {
    let size = max(count * MemoryLayout<Element>.stride, 1)
    let block = ZeroedMemory(byteCount: size)
    blocks.append(block)
    byteCount += size
    return block.start.bindMemory(to: type, capacity: max(count, 1))
  }
}
