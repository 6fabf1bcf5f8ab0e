import Foundation

/// Memory that grows to what its largest use needs, in the first steps.
///
/// `@unchecked Sendable`: one thread at a time uses it.
public final class TemporaryMemory: @unchecked Sendable {
  private var data: UnsafeMutableRawPointer?
  private var capacity = 0

  /// No memory yet.
  public init() {}

  deinit { free(data) }

  /// At least `byteCount` bytes, 64-byte aligned, what they hold undefined; earlier ones are given back.
  public func memory(byteCount: Int) -> UnsafeMutableRawPointer {
    if let data, byteCount <= capacity { return data }
    free(data)
    capacity = max(64, byteCount)
    let data = alignedMemory(byteCount: capacity)
    self.data = data
    return data
  }
}
