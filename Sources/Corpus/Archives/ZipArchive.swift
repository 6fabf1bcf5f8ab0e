import CZlib
import Foundation
import Platform

/// The directory of a zip archive: its entries and where they are.
///
/// Stored and deflated entries can be read; encrypted entries and those beyond 4 GiB (zip64) are refused.
struct ZipArchive {
  /// A file in the archive.
  struct Entry: Equatable {
    let name: String
    /// 0 stored, 8 deflated.
    let method: UInt16
    let flags: UInt16
    let checksum: UInt32
    let storedByteCount: Int
    let byteCount: Int
    fileprivate let headerOffset: Int
  }

  let url: URL
  /// The files, in the order of the central directory, without directory entries.
  let entries: [Entry]

  private static let endSignature: UInt32 = 0x0605_4b50
  private static let entrySignature: UInt32 = 0x0201_4b50
  private static let headerSignature: UInt32 = 0x0403_4b50
  /// The end record, and the longest comment that may follow it.
  private static let endByteCount = 22
  private static let longestTail = endByteCount + 65_535

  /// Reads the directory of a zip archive.
  init(opening url: URL) throws {
    self.url = url
    let name = url.relativePath
    let file = try OpenFile.reading(url.path, followsLinks: true)
    let byteCount = try file.byteCount()
    let tailOffset = max(0, byteCount - Self.longestTail)
    let tail = try Self.read(file, tailOffset..<byteCount)
    guard
      let end = tail.indices.dropLast(Self.endByteCount - 1).last(where: {
        tail.number($0, as: UInt32.self) == Self.endSignature
      })
    else { throw MilmError("expected a zip file at \(name), found no directory at its end") }
    let directorySize = Int(tail.number(end + 12, as: UInt32.self))
    let directoryOffset = Int(tail.number(end + 16, as: UInt32.self))
    guard directoryOffset + directorySize <= tailOffset + end else {
      throw MilmError("expected the directory of \(name) before its end, found it beyond (or a zip64 file)")
    }
    let directory = try Self.read(file, directoryOffset..<directoryOffset + directorySize)
    entries = try Self.entries(directory, name: name).filter { !$0.name.hasSuffix("/") }
  }

  private static func entries(_ directory: [UInt8], name: String) throws -> [Entry] {
    var entries: [Entry] = []
    var position = 0
    while position < directory.count {
      guard directory.count - position >= 46, directory.number(position, as: UInt32.self) == entrySignature
      else { throw MilmError("expected a file's entry in the directory of \(name), found other bytes") }
      let lengths = [28, 30, 32].map { Int(directory.number(position + $0, as: UInt16.self)) }
      let next = position + 46 + lengths.reduce(0, +)
      guard next <= directory.count else {
        throw MilmError("expected whole entries in the directory of \(name), found the last one truncated")
      }
      entries.append(
        Entry(
          name: String(decoding: directory[(position + 46)...].prefix(lengths[0]), as: UTF8.self),
          method: directory.number(position + 10, as: UInt16.self),
          flags: directory.number(position + 8, as: UInt16.self),
          checksum: directory.number(position + 16, as: UInt32.self),
          storedByteCount: Int(directory.number(position + 20, as: UInt32.self)),
          byteCount: Int(directory.number(position + 24, as: UInt32.self)),
          headerOffset: Int(directory.number(position + 42, as: UInt32.self))))
      position = next
    }
    return entries
  }

  /// The only file whose last path component is `name`, or the only file of the archive.
  func entry(named name: String? = nil) throws -> Entry {
    let matching = entries.filter { entry in
      name == nil || entry.name.split(separator: "/").last.map(String.init) == name
    }
    guard let entry = matching.first, matching.count == 1 else {
      let found = entries.isEmpty ? "none" : entries.prefix(5).map(\.name).joined(separator: ", ")
      throw MilmError("expected one file \(name ?? "alone") in \(url.relativePath), found \(found)")
    }
    let place = "\(entry.name) in \(url.relativePath)"
    guard entry.flags & 1 == 0 else { throw MilmError("expected \(place) unencrypted, found it encrypted") }
    guard entry.method == 0 || entry.method == 8 else {
      throw MilmError("expected \(place) stored or deflated, found compression method \(entry.method)")
    }
    guard entry.byteCount < UInt32.max && entry.storedByteCount < UInt32.max else {
      throw MilmError("expected \(place) with less than 4 GiB, found a zip64 entry")
    }
    return entry
  }

  /// The position of an entry's stored bytes in the file.
  func storedBytes(of entry: Entry) throws -> Range<Int> {
    let file = try OpenFile.reading(url.path, followsLinks: true)
    let byteCount = try file.byteCount()
    guard entry.headerOffset + 30 <= byteCount else { throw misplaced(entry) }
    let header = try Self.read(file, entry.headerOffset..<entry.headerOffset + 30)
    guard header.number(0, as: UInt32.self) == Self.headerSignature else { throw misplaced(entry) }
    let start =
      entry.headerOffset + 30 + Int(header.number(26, as: UInt16.self))
      + Int(header.number(28, as: UInt16.self))
    guard start + entry.storedByteCount <= byteCount else { throw misplaced(entry) }
    return start..<start + entry.storedByteCount
  }

  private func misplaced(_ entry: Entry) -> MilmError {
    MilmError("expected \(entry.name) in \(url.relativePath) where its directory says, found other bytes")
  }

  private static func read(_ file: borrowing OpenFile, _ range: Range<Int>) throws -> [UInt8] {
    try file.seek(to: range.lowerBound)
    var bytes = [UInt8](repeating: 0, count: range.count)
    guard try bytes.withUnsafeMutableBytes({ try file.readAll(into: $0) }) == range.count else {
      throw MilmError(file.path, "expected a zip file that does not change while it is read")
    }
    return bytes
  }
}

/// Reads a zip entry and verifies its length and CRC-32.
final class ZipEntryDecoder: StreamDecoder {
  private let entry: ZipArchive.Entry
  private let name: String
  private let inflater: InflateDecoder?
  private var byteCount = 0
  private var checksum: UInt = 0

  init(_ entry: ZipArchive.Entry, name: String) throws {
    self.entry = entry
    self.name = name
    inflater = entry.method == 8 ? try InflateDecoder(.zipEntry, name: name) : nil
  }

  func read(
    into buffer: UnsafeMutableRawBufferPointer,
    from next: (UnsafeMutableRawBufferPointer) throws -> Int
  ) throws -> Int {
    let count = try inflater?.read(into: buffer, from: next) ?? next(buffer)
    byteCount += count
    checksum = crc32(
      checksum, buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt32(count))
    if count == 0 && (byteCount != entry.byteCount || checksum != UInt(entry.checksum)) {
      throw MilmError(
        "expected \(entry.byteCount) bytes with CRC-32 \(entry.checksum) in \(name), found \(byteCount) with \(checksum)"
      )
    }
    return count
  }
}

extension [UInt8] {
  /// The little-endian number at a position.
  fileprivate func number<Number: FixedWidthInteger>(_ position: Int, as type: Number.Type) -> Number {
    withUnsafeBytes { Number(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: type)) }
  }
}
