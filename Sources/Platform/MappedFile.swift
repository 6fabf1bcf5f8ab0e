import Foundation

/// A regular file mapped into memory for reading; no copy is kept.
///
/// The file must not be truncated while it is mapped: the kernel kills a process that reads beyond the end.
///
/// `@unchecked Sendable`: the mapping is read-only and lives as long as the object.
package final class MappedFile: @unchecked Sendable {
  /// The file's content.
  package let bytes: UnsafeRawBufferPointer

  /// Maps the file at `path`; `followsLinks` as in `OpenFile.reading`.
  package init(_ path: String, followsLinks: Bool = false) throws(MilmError) {
    let file = try OpenFile.reading(path, followsLinks: followsLinks)
    let byteCount = try file.byteCount()
    // The kernel refuses empty mappings.
    guard byteCount > 0 else {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    let address = mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, file.descriptor, 0)
    let code = errno
    guard let address, address != MAP_FAILED else { throw MilmError(path, cannot: "map", code: code) }
    bytes = UnsafeRawBufferPointer(start: address, count: byteCount)
  }

  deinit {
    if let start { munmap(start, bytes.count) }
  }

  /// Tells the kernel that `body` reads the file once from start to end.
  package func readingSequentially<Result>(_ body: () throws -> Result) rethrows -> Result {
    madvise(start, bytes.count, MADV_SEQUENTIAL)
    defer { madvise(start, bytes.count, MADV_NORMAL) }
    return try body()
  }

  private var start: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(mutating: bytes.baseAddress) }
}
