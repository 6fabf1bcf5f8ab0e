import CKernels
import Crypto
import Foundation

/// Incremental XXH64 (Collet's xxHash, 64-bit variant).
package struct XXH64 {
  private var state = CKernels_XXH64State()

  package init(seed: UInt64 = 0) {
    CKernels_xxh64Start(&state, seed)
  }

  package mutating func update(_ bytes: UnsafeRawBufferPointer) {
    CKernels_xxh64Update(&state, bytes.baseAddress, bytes.count)
  }

  /// The hash of everything so far.
  package var value: UInt64 {
    withUnsafePointer(to: state) { CKernels_xxh64Finish($0) }
  }

  /// The hash of a text in UTF-8.
  package static func hash(of text: String) -> UInt64 {
    Array(text.utf8).withUnsafeBytes { hash($0) }
  }

  /// The hash of contiguous bytes.
  package static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt64 {
    CKernels_xxh64(bytes.baseAddress, bytes.count, seed)
  }
}

/// Incremental SHA-256.
package struct SHA256Digest {
  private var hasher = SHA256()

  package init() {}

  package mutating func update(_ bytes: UnsafeRawBufferPointer) {
    hasher.update(bufferPointer: bytes)
  }

  /// The digest of everything so far: 64 lower-case hexadecimal digits.
  package var hexadecimal: String {
    hasher.finalize().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// The digest of a whole sequence.
  package static func hexadecimal(of bytes: some Sequence<UInt8>) -> String {
    var digest = SHA256Digest()
    Array(bytes).withUnsafeBytes { digest.update($0) }
    return digest.hexadecimal
  }
}

/// The SHA-256 and the length of a file.
package struct FileDigest: Codable, Sendable, Equatable {
  /// 64 lower-case hexadecimal digits.
  package let sha256: String
  /// The file's length.
  package let byteCount: Int

  /// A digest computed elsewhere.
  package init(sha256: String, byteCount: Int) {
    self.sha256 = sha256
    self.byteCount = byteCount
  }

  /// Reads a file from start to end and computes its digest; `followsLinks` as in `OpenFile.reading`.
  package init(ofFile path: String, followsLinks: Bool = false) throws {
    let file = try OpenFile.reading(path, followsLinks: followsLinks)
    var digest = SHA256Digest()
    var byteCount = 0
    let buffer = UnsafeMutableRawBufferPointer.allocated(byteCount: 1 << 20)
    defer { free(buffer.baseAddress) }
    while true {
      let count = try file.read(into: buffer)
      if count == 0 { break }
      digest.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      byteCount += count
    }
    self.init(sha256: digest.hexadecimal, byteCount: byteCount)
  }
}

/// A new file whose SHA-256 is computed while it is written, so that it need not be read again.
package struct DigestingFile: ~Copyable {
  private let file: OpenFile
  private var digest = SHA256Digest()
  private var byteCount = 0

  /// Creates a file that must not exist yet.
  package init(creating path: String) throws(MilmError) {
    file = try OpenFile.creating(path)
  }

  /// Appends bytes, in pieces small enough to be still in the cache when they are written after hashing.
  package mutating func write(_ bytes: UnsafeRawBufferPointer) throws(MilmError) {
    var rest = bytes
    while !rest.isEmpty {
      let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(256 << 10))
      digest.update(piece)
      try file.write(piece)
      byteCount += piece.count
      rest = UnsafeRawBufferPointer(rebasing: rest[piece.count...])
    }
  }

  /// Returns the digest of everything written, once it is on disk.
  package consuming func finish() throws(MilmError) -> FileDigest {
    try file.synchronize()
    return FileDigest(sha256: digest.hexadecimal, byteCount: byteCount)
  }
}
