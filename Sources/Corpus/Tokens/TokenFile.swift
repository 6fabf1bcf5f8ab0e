import Foundation
import Platform

/// How much of a token file is verified when it is opened.
package enum Verification: Sendable {
  /// Header, size, every id and the checksum, in one pass over the file.
  case full
  /// Header and size: for the other ranks of a node on which one rank does the full pass.
  case headerOnly
}

/// A token file, read where its tokens are needed; no copy is kept.
///
/// A file that is truncated, changed or lost while it is in use is an error of the read.
package final class TokenFile: TokenSequence {
  /// The number of tokens.
  package let count: Int
  /// XXH64 of the ids that full verification has read, or as the header states it, in hexadecimal: equal on all hosts
  /// that have the same file.
  package let checksum: String
  private let file: OpenFile
  private let name: String
  private let width: Int
  private let vocabularyCount: Int

  /// Opens the file at `url` and verifies it.
  ///
  /// - Parameter vocabularyCount: all ids must be below it, which full verification checks, and every read.
  /// - Throws: an error that names the file and what is wrong with it.
  package init(opening url: URL, vocabularyCount: Int, verification: Verification = .full) throws {
    name = url.relativePath
    guard !isDirectory(url.path) else {
      throw MilmError("expected a token file at \(name), found a directory")
    }
    file = try OpenFile.reading(url.path, followsLinks: true)
    let header = try TokenFileHeader(of: file, name: name)
    var hash = header.checksum
    if verification == .full {
      hash = try header.verifyIDs(file, vocabularyCount: vocabularyCount, name: name)
    }
    count = header.count
    checksum = String(hash, radix: 16)
    width = header.width
    self.vocabularyCount = vocabularyCount
  }

  /// Copies the ids of a range to the start of `destination`, which must be large enough.
  package func copy(_ range: Range<Int>, into destination: UnsafeMutableBufferPointer<Int32>) throws {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "\(range) of \(count) tokens")
    precondition(range.count <= destination.count, "no room for \(range.count) tokens")
    let ids = UnsafeMutableBufferPointer(rebasing: destination[..<range.count])
    if width == 2 {
      try withUnsafeTemporaryAllocation(of: UInt16.self, capacity: range.count) { narrow in
        try read(range, into: UnsafeMutableRawBufferPointer(narrow))
        for index in ids.indices { ids[index] = Int32(narrow[index].littleEndian) }
      }
    } else {
      try read(range, into: UnsafeMutableRawBufferPointer(ids))
      for index in ids.indices { ids[index] = ids[index].littleEndian }
    }
    // Negative ids are the largest as unsigned numbers.
    let largest = ids.reduce(UInt32(0)) { max($0, UInt32(bitPattern: $1)) }
    guard ids.isEmpty || largest < vocabularyCount else {
      throw MilmError(
        "expected ids below \(vocabularyCount) in \(name), found \(largest) in tokens \(range.lowerBound) to "
          + "\(range.upperBound - 1); the file has changed since it was opened")
    }
  }

  private func read(_ range: Range<Int>, into bytes: UnsafeMutableRawBufferPointer) throws {
    let offset = TokenFileHeader.byteCount + range.lowerBound * width
    let byteCount = try file.readAll(into: bytes, at: offset)
    guard byteCount == bytes.count else {
      throw MilmError(
        "expected \(count) tokens in \(name), found the file truncated to \(try file.byteCount()) bytes; "
          + "it has changed since it was opened")
    }
  }
}

extension TokenFileHeader {
  /// Parses the header of a file and checks it against the file's size.
  fileprivate init(of file: borrowing OpenFile, name: String) throws {
    let byteCount = try file.byteCount()
    var first = [UInt8](repeating: 0, count: min(byteCount, Self.byteCount))
    let readByteCount = try first.withUnsafeMutableBytes { try file.readAll(into: $0, at: 0) }
    try self.init(Array(first[..<readByteCount]), fileByteCount: byteCount, name: name)
  }

  /// Checks in one pass that all ids are below `vocabularyCount` and that their bytes have the checksum, which it returns.
  fileprivate func verifyIDs(
    _ file: borrowing OpenFile, vocabularyCount: Int, name: String
  ) throws -> UInt64 {
    var hash = XXH64()
    var largest: UInt32 = 0
    var offset = Self.byteCount
    let end = Self.byteCount + count * width
    var buffer = [UInt32](repeating: 0, count: 1 << 16)
    while offset < end {
      let byteCount = try buffer.withUnsafeMutableBytes { buffer in
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(end - offset))
        let byteCount = try file.readAll(into: part, at: offset)
        let bytes = UnsafeRawBufferPointer(rebasing: part[..<byteCount])
        hash.update(bytes)
        largest = max(largest, largestID(bytes))
        return byteCount
      }
      guard byteCount > 0 else { break }
      offset += byteCount
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

  /// Parses the first bytes of a file of `fileByteCount` bytes.
  init(_ first: [UInt8], fileByteCount: Int, name: String) throws {
    guard first.count == Self.byteCount else {
      throw MilmError(
        "expected a token file at \(name), found \(fileByteCount) bytes, fewer than its header has")
    }
    guard first.starts(with: Self.magic) else {
      throw MilmError("expected a token file at \(name), found none of its magic, MILMTOK1")
    }
    func number<Number: FixedWidthInteger>(_ offset: Int, as type: Number.Type) -> Number {
      first.withUnsafeBytes { Number(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: type)) }
    }
    let version = number(8, as: UInt32.self)
    guard version == Self.version else {
      throw MilmError("expected token file version \(Self.version) in \(name), found \(version)")
    }
    let width = number(12, as: UInt32.self)
    guard width == 2 || width == 4 else {
      throw MilmError("expected 2 or 4 bytes per id in \(name), found \(width)")
    }
    let count = number(16, as: UInt64.self)
    let (payload, overflow) = count.multipliedReportingOverflow(by: UInt64(width))
    guard !overflow && payload == UInt64(fileByteCount - Self.byteCount) else {
      throw MilmError(
        "expected \(count) ids of \(width) bytes in \(name), "
          + "found \(fileByteCount - Self.byteCount) bytes of ids")
    }
    guard first[32...].allSatisfy({ $0 == 0 }) else {
      throw MilmError("expected zeros from byte 32 to 64 of \(name), found other bytes")
    }
    self.width = Int(width)
    self.count = Int(count)
    checksum = number(24, as: UInt64.self)
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

  /// Copies the ids of a range to the start of `destination`, which must be large enough.
  ///
  /// - Throws: if they cannot be read, or are none of the vocabulary.
  func copy(_ range: Range<Int>, into destination: UnsafeMutableBufferPointer<Int32>) throws
}

/// Tokens held in memory.
package struct TokenArray: TokenSequence, Equatable {
  package let ids: [Int32]

  /// A sequence of these ids.
  package init(_ ids: [Int32]) {
    self.ids = ids
  }

  /// The number of tokens.
  package var count: Int { ids.count }

  /// Copies the ids of a range to the start of `destination`, which must be large enough.
  package func copy(_ range: Range<Int>, into destination: UnsafeMutableBufferPointer<Int32>) {
    precondition(range.count <= destination.count, "no room for \(range.count) tokens")
    _ = destination.update(fromContentsOf: ids[range])
  }
}
