import Foundation
import Platform

/// How much of a token file is verified when it is opened.
package enum Verification: Sendable {
  /// Header, size, every id and the checksum, in one pass over the file.
  case full
  /// Header and size: for the other ranks of a node on which one rank does the full pass.
  case headerOnly
}

/// A token file mapped into memory; no copy is kept.
package final class TokenFile: TokenSequence {
  /// The number of tokens.
  package let count: Int
  /// XXH64 of the ids that full verification has read, or as the header states it, in hexadecimal: equal on all hosts
  /// that have the same file.
  package let checksum: String
  private let file: MappedFile
  private let width: Int

  /// Maps the file at `url` and verifies it.
  ///
  /// - Parameter vocabularyCount: all ids must be below it, which full verification checks.
  /// - Throws: an error that names the file and what is wrong with it.
  package init(opening url: URL, vocabularyCount: Int, verification: Verification = .full) throws {
    let name = url.relativePath
    guard !isDirectory(url.path) else {
      throw MilmError("expected a token file at \(name), found a directory")
    }
    let file = try MappedFile(url.path, followsLinks: true)
    let header = try TokenFileHeader(file.bytes, name: name)
    var hash = header.checksum
    if verification == .full {
      try file.readingSequentially {
        hash = try header.verifyIDs(file.bytes, vocabularyCount: vocabularyCount, name: name)
      }
    }
    self.file = file
    count = header.count
    checksum = String(hash, radix: 16)
    width = header.width
  }

  /// The id of the token at a position from 0.
  package subscript(position: Int) -> Int32 {
    precondition(position >= 0 && position < count, "position \(position) of \(count) tokens")
    return width == 2 ? Int32(narrow[position].littleEndian) : wide[position].littleEndian
  }

  /// Copies the ids of a range to the start of `destination`, which must be large enough.
  package func copy(_ range: Range<Int>, into destination: UnsafeMutableBufferPointer<Int32>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "\(range) of \(count) tokens")
    precondition(range.count <= destination.count, "no room for \(range.count) tokens")
    let first = range.lowerBound
    if width == 2 {
      for index in 0..<range.count { destination[index] = Int32(narrow[first &+ index].littleEndian) }
    } else {
      for index in 0..<range.count { destination[index] = wide[first &+ index].littleEndian }
    }
  }

  private var narrow: UnsafeBufferPointer<UInt16> { ids(as: UInt16.self) }
  private var wide: UnsafeBufferPointer<Int32> { ids(as: Int32.self) }

  private func ids<ID>(as type: ID.Type) -> UnsafeBufferPointer<ID> {
    let payload = file.bytes[TokenFileHeader.byteCount...]
    return UnsafeRawBufferPointer(rebasing: payload).assumingMemoryBound(to: type)
  }
}

extension TokenFileHeader {
  /// Checks in one pass that all ids are below `vocabularyCount` and that their bytes have the checksum, which it returns.
  fileprivate func verifyIDs(
    _ file: UnsafeRawBufferPointer, vocabularyCount: Int, name: String
  ) throws -> UInt64 {
    var hash = XXH64()
    var largest: UInt32 = 0
    for start in stride(from: Self.byteCount, to: file.count, by: 1 << 18) {
      let part = UnsafeRawBufferPointer(rebasing: file[start..<min(start + (1 << 18), file.count)])
      hash.update(part)
      largest = max(largest, largestID(part))
    }
    guard hash.value == checksum else {
      throw MilmError("expected ids with checksum \(hexadecimal(checksum)) in \(name), found other ids")
    }
    guard count == 0 || largest < vocabularyCount else {
      throw MilmError("expected ids below \(vocabularyCount) in \(name), found \(largest)")
    }
    return hash.value
  }

  private func largestID(_ ids: UnsafeRawBufferPointer) -> UInt32 {
    if width == 2 {
      return UInt32(ids.assumingMemoryBound(to: UInt16.self).reduce(0) { max($0, $1.littleEndian) })
    }
    return ids.assumingMemoryBound(to: UInt32.self).reduce(0) { max($0, $1.littleEndian) }
  }
}

/// The first 64 bytes of a token file, little-endian.
///
/// 0 magic `MILMTOK1`, 8 version (u32), 12 bytes per id (u32), 16 number of ids (u64),
/// 24 XXH64 of the ids' bytes (u64), zeros to 64.
struct TokenFileHeader {
  static let byteCount = 64
  static let magic = Array("MILMTOK1".utf8)
  static let version: UInt32 = 1

  /// Bytes per id: 2 or 4.
  let width: Int
  let count: Int
  let checksum: UInt64

  /// The smallest width that holds all ids of a vocabulary.
  static func width(forVocabularyCount vocabularyCount: Int) -> Int { vocabularyCount <= 65536 ? 2 : 4 }

  init(width: Int, count: Int, checksum: UInt64) {
    self.width = width
    self.count = count
    self.checksum = checksum
  }

  /// Parses the header of a file and checks it against the file's size.
  init(_ file: UnsafeRawBufferPointer, name: String) throws {
    guard file.count >= Self.byteCount else {
      throw MilmError(
        "expected a token file at \(name), found \(file.count) bytes, fewer than its header has")
    }
    guard file.starts(with: Self.magic) else {
      throw MilmError("expected a token file at \(name), found none of its magic, MILMTOK1")
    }
    let version = UInt32(littleEndian: file.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
    guard version == Self.version else {
      throw MilmError("expected token file version \(Self.version) in \(name), found \(version)")
    }
    let width = UInt32(littleEndian: file.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
    guard width == 2 || width == 4 else {
      throw MilmError("expected 2 or 4 bytes per id in \(name), found \(width)")
    }
    let count = UInt64(littleEndian: file.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
    let (payload, overflow) = count.multipliedReportingOverflow(by: UInt64(width))
    guard !overflow && payload == UInt64(file.count - Self.byteCount) else {
      throw MilmError(
        "expected \(count) ids of \(width) bytes in \(name), "
          + "found \(file.count - Self.byteCount) bytes of ids")
    }
    guard file[32..<Self.byteCount].allSatisfy({ $0 == 0 }) else {
      throw MilmError("expected zeros from byte 32 to 64 of \(name), found other bytes")
    }
    self.width = Int(width)
    self.count = Int(count)
    checksum = UInt64(littleEndian: file.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
  }

  var bytes: [UInt8] {
    var bytes = Self.magic
    withUnsafeBytes(of: Self.version.littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: UInt32(width).littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: UInt64(count).littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: checksum.littleEndian) { bytes.append(contentsOf: $0) }
    return bytes + [UInt8](repeating: 0, count: Self.byteCount - bytes.count)
  }
}

/// Writes a token file as a stream; it appears under its name only when it is complete and on disk.
package final class TokenFileWriter {
  private let file: AtomicFile
  private let vocabularyCount: Int
  private let width: Int
  private var hash = XXH64()
  private var packed = ByteBuffer()

  /// The number of ids appended so far.
  package private(set) var count = 0

  /// Begins a token file for ids below `vocabularyCount`, with two bytes per id if that is enough and
  /// four otherwise.
  package init(_ url: URL, vocabularyCount: Int) throws {
    file = try AtomicFile(url.path)
    self.vocabularyCount = vocabularyCount
    width = TokenFileHeader.width(forVocabularyCount: vocabularyCount)
    try [UInt8](repeating: 0, count: TokenFileHeader.byteCount).withUnsafeBytes { try file.append($0) }
  }

  /// Appends ids; each must be at least 0 and below the vocabulary's count.
  package func append(_ ids: UnsafeBufferPointer<Int32>) throws {
    // Negative ids are the largest as unsigned numbers.
    let largest = ids.reduce(UInt32(0)) { max($0, UInt32(bitPattern: $1)) }
    precondition(ids.isEmpty || largest < vocabularyCount, "id \(largest) outside \(vocabularyCount) words")
    packed.truncate(to: 0)
    packed.reserve(ids.count * width)
    if width == 2 {
      let narrow = packed.free.bindMemory(to: UInt16.self)
      for index in ids.indices { narrow[index] = UInt16(truncatingIfNeeded: ids[index]).littleEndian }
    } else {
      let wide = packed.free.bindMemory(to: Int32.self)
      for index in ids.indices { wide[index] = ids[index].littleEndian }
    }
    packed.extend(by: ids.count * width)
    hash.update(UnsafeRawBufferPointer(packed.bytes))
    try file.append(packed.bytes)
    count += ids.count
  }

  /// Appends ids; each must be at least 0 and below the vocabulary's count.
  package func append(_ ids: [Int32]) throws {
    try ids.withUnsafeBufferPointer { try append($0) }
  }

  /// Writes the header, forces the file to disk and gives it its name.
  package func finish() throws {
    let header = TokenFileHeader(width: width, count: count, checksum: hash.value)
    try header.bytes.withUnsafeBytes { try file.overwriteStart(with: $0) }
    try file.finish()
  }
}

/// The tokens of a text, with random access.
package protocol TokenSequence: Sendable {
  /// The number of tokens.
  var count: Int { get }

  /// The id of the token at a position from 0.
  subscript(position: Int) -> Int32 { get }

  /// Copies the ids of a range to the start of `destination`, which must be large enough.
  func copy(_ range: Range<Int>, into destination: UnsafeMutableBufferPointer<Int32>)
}

/// Tokens held in memory.
package struct TokenArray: TokenSequence, Equatable {
  /// The ids.
  package let ids: [Int32]

  /// A sequence of these ids.
  package init(_ ids: [Int32]) {
    self.ids = ids
  }

  /// The number of tokens.
  package var count: Int { ids.count }

  /// The id of the token at a position from 0.
  package subscript(position: Int) -> Int32 { ids[position] }

  /// Copies the ids of a range to the start of `destination`, which must be large enough.
  package func copy(_ range: Range<Int>, into destination: UnsafeMutableBufferPointer<Int32>) {
    precondition(range.count <= destination.count, "no room for \(range.count) tokens")
    _ = destination.update(fromContentsOf: ids[range])
  }
}
