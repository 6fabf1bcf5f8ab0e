import Foundation
import Platform

/// One text to read: a file, plain or compressed (`.zst`, `.gz`, `.zip` with one file in it), a file in an
/// archive, or bytes in memory.
enum TextSource: Sendable {
  case file(URL)
  /// The one file of this name in a zip file, whatever its folder there.
  case entry(archive: URL, name: String)
  case memory(name: String, bytes: [UInt8])

  /// What messages and `corpus.json` call it: the path as it was given.
  var name: String {
    switch self {
    case .file(let url): url.relativePath
    case .entry(let archive, let name): "\(archive.relativePath):\(name)"
    case .memory(let name, _): name
    }
  }

  /// Bytes as stored, compressed ones for a compressed file; 0 for a pipe.
  ///
  /// - Throws: `MilmError` if there is no such file, or it is a folder.
  func storedByteCount() throws -> Int {
    switch self {
    case .memory(_, let bytes): return bytes.count
    case .entry(let archive, let name):
      return try ZipArchive(opening: archive).entry(named: name).storedByteCount
    case .file(let url):
      var status = stat()
      guard stat(url.path, &status) == 0 else { throw MilmError(name, cannot: "read") }
      guard status.st_mode & S_IFMT != S_IFDIR else {
        throw MilmError("expected a regular file or a pipe at \(name), found a folder")
      }
      return Int(status.st_size)
    }
  }

  /// Begins reading at the first byte of the text.
  func open(hashing: Bool) throws -> TextStream {
    switch self {
    case .memory(_, let bytes):
      return TextStream(StoredBytes(name: name, memory: bytes), hashing: hashing ? .stored : nil)
    case .entry(let archive, let name):
      let archive = try ZipArchive(opening: archive)
      return try open(archive.entry(named: name), in: archive, hashing: hashing ? .text : nil)
    case .file(let url):
      let hashing: TextStream.Hashing? = hashing ? .stored : nil
      let decoder: (any StreamDecoder)?
      switch Compression(url) {
      case .zip:
        let archive = try ZipArchive(opening: url)
        return try open(archive.entry(), in: archive, hashing: hashing.map { _ in .text })
      case .zstd: decoder = try ZstdDecoder(name: name)
      case .gzip: decoder = try InflateDecoder(.gzip, name: name)
      case nil: decoder = nil
      }
      return TextStream(try StoredBytes(name: name, file: url), decoder: decoder, hashing: hashing)
    }
  }

  private func open(
    _ entry: ZipArchive.Entry, in archive: ZipArchive, hashing: TextStream.Hashing?
  ) throws -> TextStream {
    let stored = try StoredBytes(name: name, file: archive.url, range: archive.storedBytes(of: entry))
    return TextStream(stored, decoder: try ZipEntryDecoder(entry, name: name), hashing: hashing)
  }

  /// The whole text, sealed; for small files.
  func bytes() throws -> ByteBuffer {
    var bytes = ByteBuffer(capacity: try storedByteCount())
    let stream = try open(hashing: false)
    while true {
      bytes.reserve(1 << 16)
      let byteCount = try stream.read(into: bytes.free)
      if byteCount == 0 { break }
      bytes.extend(by: byteCount)
    }
    bytes.seal()
    return bytes
  }
}
