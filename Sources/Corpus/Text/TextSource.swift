import Foundation

/// One text to read: a file, plain or compressed with zstd (`.zst`), or bytes in memory.
enum TextSource: Sendable {
  case file(URL)
  case memory(name: String, bytes: [UInt8])

  /// What messages and `corpus.json` call it: the path as it was given.
  var name: String {
    switch self {
    case .file(let url): url.relativePath
    case .memory(let name, _): name
    }
  }

  /// Bytes as stored, compressed ones for a compressed file.
  ///
  /// - Throws: `CorpusError` if there is no such file, or it is not a regular one (a
  ///   pipe cannot be read twice).
  func storedByteCount() throws -> Int {
    switch self {
    case .memory(_, let bytes): return bytes.count
    case .file(let url):
      var status = stat()
      guard stat(url.path, &status) == 0 else { throw CorpusError.system("read", name) }
      guard status.st_mode & S_IFMT == S_IFREG else {
        throw CorpusError("expected a regular file at \(name), found something else (a folder or a pipe)")
      }
      return Int(status.st_size)
    }
  }

  /// Begins reading at the first byte of the text.
  func open(hashing: Bool) throws -> TextStream {
    switch self {
    case .memory(let name, let bytes):
      return TextStream(StoredBytes(name: name, memory: bytes, hashing: hashing), decoder: nil)
    case .file(let url):
      let stored = try StoredBytes(name: name, file: url, hashing: hashing)
      let decoder = url.pathExtension == "zst" ? try ZstdDecoder(name: name) : nil
      return TextStream(stored, decoder: decoder)
    }
  }

  /// The whole text; for small files.
  func bytes() throws -> [UInt8] {
    var bytes = ByteBuffer(capacity: try storedByteCount())
    let stream = try open(hashing: false)
    while true {
      bytes.reserve(1 << 16)
      let byteCount = try stream.read(into: bytes.free)
      if byteCount == 0 { return Array(bytes.bytes) }
      bytes.extend(by: byteCount)
    }
  }

  /// The line, from 1, that holds the byte at `offset` of the text.
  func lineNumber(at offset: Int) throws -> Int {
    let stream = try open(hashing: false)
    var block = ByteBuffer(capacity: 1 << 20)
    var lineNumber = 1
    var remaining = offset
    while remaining > 0 {
      block.truncate(to: 0)
      let byteCount = min(remaining, try stream.read(into: block.free))
      guard byteCount > 0 else { break }
      block.extend(by: byteCount)
      lineNumber += block.bytes.count { $0 == UInt8(ascii: "\n") }
      remaining -= byteCount
    }
    return lineNumber
  }
}
