import Crypto
import Foundation

/// The sha256 and the length of a file.
public struct FileDigest: Codable, Sendable, Equatable {
  /// 64 lower-case hexadecimal digits.
  public let sha256: String
  /// The file's length.
  public let byteCount: Int

  /// A digest computed elsewhere, with `sha256` in lower-case hexadecimal digits.
  public init(sha256: String, byteCount: Int) {
    self.sha256 = sha256
    self.byteCount = byteCount
  }

  /// Reads a file from end to end and computes its digest; throws `CheckpointError`.
  public init(ofFile path: String) throws {
    let file = try OpenFile.reading(path)
    var hasher = SHA256()
    var byteCount = 0
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
    defer { buffer.deallocate() }
    while true {
      let count = try file.read(into: buffer)
      if count == 0 { break }
      hasher.update(bufferPointer: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      byteCount += count
    }
    self.init(sha256: hexadecimal(hasher.finalize()), byteCount: byteCount)
  }
}

/// A file being created whose sha256 is computed on the way, so that it need not be read again.
struct DigestingFile: ~Copyable {
  private let file: OpenFile
  private var hasher = SHA256()
  private var byteCount = 0

  /// Creates a file that must not exist yet.
  init(creating path: String) throws(CheckpointError) {
    file = try OpenFile.creating(path)
  }

  /// Appends bytes, in pieces that are still in the cache when the second of hash and write comes to them.
  mutating func write(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
    var rest = bytes
    while !rest.isEmpty {
      let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(256 << 10))
      hasher.update(bufferPointer: piece)
      try file.write(piece)
      byteCount += piece.count
      rest = UnsafeRawBufferPointer(rebasing: rest[piece.count...])
    }
  }

  /// Returns the digest of all that was written, once it is on the disk.
  consuming func finish() throws(CheckpointError) -> FileDigest {
    try file.synchronize()
    return FileDigest(sha256: hexadecimal(hasher.finalize()), byteCount: byteCount)
  }
}

/// A digest's bytes as lower-case hexadecimal digits.
func hexadecimal(_ digest: SHA256.Digest) -> String {
  digest.map { byte in
    (byte < 16 ? "0" : "") + String(byte, radix: 16)
  }.joined()
}
