import Foundation
import Platform

/// A text to read: a file, plain or compressed (zstd, gzip, zip with one file in it), an entry of a zip archive, or
/// bytes in memory.
enum TextSource: Sendable {
  case file(URL)
  /// Standard input, plain or compressed with zstd or gzip.
  case standardInput
  /// The only entry of this name in a zip archive, in any directory.
  case entry(archive: URL, name: String)
  case memory(name: String, bytes: [UInt8])

  /// Its name in messages and in `corpus.json`: the path as given.
  var name: String {
    switch self {
    case .file(let url): url.relativePath
    case .standardInput: "standard input"
    case .entry(let archive, let name): "\(archive.relativePath):\(name)"
    case .memory(let name, _): name
    }
  }

  /// Its size as stored, that is, compressed for a compressed file; 0 for a pipe.
  ///
  /// - Throws: if there is no such file, or it is a directory.
  func storedByteCount() throws -> Int {
    switch self {
    case .memory(_, let bytes): return bytes.count
    case .standardInput: return 0
    case .entry(let archive, let name):
      return try ZipArchive(opening: archive).entry(named: name).storedByteCount
    case .file(let url):
      var status = stat()
      guard stat(url.path, &status) == 0 else { throw MilmError(name, cannot: "read") }
      guard status.st_mode & S_IFMT != S_IFDIR else {
        throw MilmError("expected a regular file or a pipe at \(name), found a directory")
      }
      return Int(status.st_size)
    }
  }

  /// Opens the text at its first byte.
  func open(hashing: Bool) throws -> TextStream {
    switch self {
    case .memory(_, let bytes):
      return TextStream(StoredBytes(memory: bytes), hashing: hashing ? .stored : nil)
    case .entry(let archive, let name):
      let archive = try ZipArchive(opening: archive)
      return try open(archive.entry(named: name), in: archive, hashing: hashing ? .text : nil)
    case .file(let url):
      return try open(StoredBytes(name: name, file: url), at: url, hashing: hashing ? .stored : nil)
    case .standardInput:
      let stored = StoredBytes(try OpenFile.standardInput())
      return try open(stored, at: nil, hashing: hashing ? .stored : nil)
    }
  }

  /// A text that may be compressed, in a file at `url` unless it is standard input.
  private func open(_ stored: StoredBytes, at url: URL?, hashing: TextStream.Hashing?) throws -> TextStream {
    let decoder: (any StreamDecoder)?
    switch Compression(url ?? URL(filePath: "-"), first: try stored.signature()) {
    case .zip:
      guard let url, stored.isSeekable else {
        throw MilmError(
          "expected a zip archive in a file, found one on a pipe at \(name); unpack it first, with: funzip")
      }
      let archive = try ZipArchive(opening: url)
      return try open(archive.entry(), in: archive, hashing: hashing.map { _ in .text })
    case .zstd: decoder = try ZstdDecoder(name: name)
    case .gzip: decoder = try InflateDecoder(.gzip, name: name)
    case nil: decoder = nil
    }
    return TextStream(stored, decoder: decoder, hashing: hashing)
  }

  private func open(
    _ entry: ZipArchive.Entry, in archive: ZipArchive, hashing: TextStream.Hashing?
  ) throws -> TextStream {
    let stored = try StoredBytes(name: name, file: archive.url, range: archive.storedBytes(of: entry))
    return TextStream(stored, decoder: try ZipEntryDecoder(entry, name: name), hashing: hashing)
  }

  /// The whole file as stored, sealed.
  static func storedBytes(of url: URL) throws -> ByteBuffer {
    let source = TextSource.file(url)
    var bytes = ByteBuffer(capacity: try source.storedByteCount())
    let stored = try StoredBytes(name: source.name, file: url)
    while true {
      bytes.reserve(1 << 16)
      let byteCount = try stored.read(into: bytes.free)
      if byteCount == 0 { break }
      bytes.extend(by: byteCount)
    }
    bytes.seal()
    return bytes
  }
}

/// The bytes of a text in order, decompressed if they are stored compressed.
final class TextStream {
  /// The bytes that SHA-256 is computed over.
  enum Hashing {
    /// The file as stored.
    case stored
    /// The decompressed text, for an archive, which may hold several.
    case text
  }

  private let stored: StoredBytes
  private let decoder: (any StreamDecoder)?
  private let hashing: Hashing?
  private var hash = SHA256Digest()
  private var lookahead = Lookahead()

  init(_ stored: StoredBytes, decoder: (any StreamDecoder)? = nil, hashing: Hashing? = nil) {
    self.stored = stored
    self.decoder = decoder
    self.hashing = hashing
  }

  /// Bytes of the file read so far, as stored.
  var storedByteCount: Int { stored.takenByteCount }

  /// Drops a byte-order mark at the start and returns its length; called before anything is read.
  ///
  /// - Throws: if the first bytes are those of something that is not text.
  func begin(name: String) throws -> Int {
    lookahead = try Lookahead(from: readDecoded)
    if let foreign = lookahead.foreignText {
      throw MilmError("expected text in \(name), found \(foreign)")
    }
    guard lookahead.signature == .utf8Mark else { return 0 }
    lookahead.drop(FileSignature.utf8MarkByteCount)
    return FileSignature.utf8MarkByteCount
  }

  /// Fills `buffer` and returns the byte count, which is smaller than the buffer only at the end.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    var filled = 0
    while filled < buffer.count {
      let byteCount = try readSome(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
      if byteCount == 0 { break }
      filled += byteCount
    }
    return filled
  }

  /// SHA-256 of the bytes read so far in hexadecimal digits, nil if not requested.
  func digest() -> String? { hashing.map { _ in hash.hexadecimal } }

  private func readSome(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let examinedByteCount = lookahead.read(into: buffer)
    return examinedByteCount > 0 ? examinedByteCount : try readDecoded(into: buffer)
  }

  private func readDecoded(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    guard let decoder else { return try readStored(into: buffer) }
    let byteCount = try decoder.read(into: buffer, from: readStored)
    if hashing == .text { update(buffer[..<byteCount]) }
    return byteCount
  }

  private func readStored(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let byteCount = try stored.read(into: buffer)
    if hashing == .stored { update(buffer[..<byteCount]) }
    return byteCount
  }

  private func update(_ bytes: Slice<UnsafeMutableRawBufferPointer>) {
    hash.update(UnsafeRawBufferPointer(rebasing: bytes))
  }
}

/// The bytes of a text in order, as stored in a file or in memory.
final class StoredBytes {
  private let file: OpenFile?
  private let memory: [UInt8]
  /// The largest number of bytes to read.
  private let limit: Int
  /// Whether it is a file that can be read from anywhere; false for a pipe.
  let isSeekable: Bool
  private var lookahead = Lookahead()
  private(set) var takenByteCount = 0

  init(memory: [UInt8]) {
    file = nil
    isSeekable = false
    self.memory = memory
    limit = memory.count
  }

  /// - Parameter range: the part of the file to read; nil for all of it.
  init(name: String, file: URL, range: Range<Int>? = nil) throws {
    let opened = try OpenFile.stream(file.path, reportedAs: name)
    if let range { try opened.seek(to: range.lowerBound) }
    isSeekable = opened.isSeekable
    self.file = consume opened
    memory = []
    limit = range?.count ?? .max
  }

  /// The bytes of an open file from its position on.
  init(_ file: consuming OpenFile) {
    isSeekable = file.isSeekable
    self.file = consume file
    memory = []
    limit = .max
  }

  /// The type by the first bytes, which remain to be read; called before anything is read.
  func signature() throws -> FileSignature? {
    lookahead = try Lookahead(from: fill)
    return lookahead.signature
  }

  /// Reads what is available into `buffer` and returns the byte count, 0 at the end.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let room = min(buffer.count, limit - takenByteCount)
    let byteCount = try fill(UnsafeMutableRawBufferPointer(rebasing: buffer[..<room]))
    takenByteCount += byteCount
    return byteCount
  }

  private func fill(_ buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let examinedByteCount = lookahead.read(into: buffer)
    if examinedByteCount > 0 { return examinedByteCount }
    if let byteCount = try file?.read(into: buffer) { return byteCount }
    let taken = memory[takenByteCount...].prefix(buffer.count)
    buffer.copyBytes(from: taken)
    return taken.count
  }
}
