import Foundation
import Platform

/// How much of a token file is checked when it is opened.
public enum Verification: Sendable {
  /// Header, size, every id and the checksum, in one pass over the file.
  case full
  /// Header and size; for further ranks on a node where one has done the full pass.
  case headerOnly
}

/// A token file, mapped into memory: no copy is kept.
public final class TokenFile: TokenSequence {
  /// How many tokens there are.
  public let count: Int
  /// XXH64 of the ids as the header states it, in hexadecimal: the same on every host that has the same file.
  public let checksum: String
  private let file: MappedFile
  private let width: Int

  /// Maps the file at `url` and verifies it.
  ///
  /// - Parameter vocabularyCount: all ids must be below it; checked by the full verification.
  /// - Throws: `MilmError` naming the file and what is wrong with it.
  public init(opening url: URL, vocabularyCount: Int, verification: Verification = .full) throws {
    let name = url.relativePath
    guard !isDirectory(url.path) else {
      throw MilmError("expected a token file at \(name), found a directory")
    }
    let file = try MappedFile(url.path, followsLinks: true)
    let header = try TokenFileHeader(file.bytes, name: name)
    if verification == .full {
      try file.readingSequentially {
        try header.verifyIDs(file.bytes, vocabularyCount: vocabularyCount, name: name)
      }
    }
    self.file = file
    count = header.count
    checksum = String(header.checksum, radix: 16)
    width = header.width
  }

  /// The id of the token at a position from 0.
  public subscript(position: Int) -> Int32 {
    precondition(position >= 0 && position < count, "position \(position) of \(count) tokens")
    return width == 2 ? Int32(narrow[position].littleEndian) : wide[position].littleEndian
  }

  /// Copies the ids of a range to the start of `destination`, which must have room for them.
  public func copy(_ range: Range<Int>, into destination: UnsafeMutableBufferPointer<Int32>) {
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
  /// Looks at every id once: all must be below `vocabularyCount`, and their bytes must have the checksum.
  fileprivate func verifyIDs(
    _ file: UnsafeRawBufferPointer, vocabularyCount: Int, name: String
  ) throws {
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
  }

  private func largestID(_ ids: UnsafeRawBufferPointer) -> UInt32 {
    if width == 2 {
      return UInt32(ids.assumingMemoryBound(to: UInt16.self).reduce(0) { max($0, $1.littleEndian) })
    }
    return ids.assumingMemoryBound(to: UInt32.self).reduce(0) { max($0, $1.littleEndian) }
  }
}
