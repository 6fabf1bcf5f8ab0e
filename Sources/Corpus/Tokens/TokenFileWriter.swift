import Foundation
import Platform

/// Writes a token file as a stream; it appears under its name only when it is whole and on the disk.
public final class TokenFileWriter {
  private let file: AtomicFile
  private let vocabularyCount: Int
  private let width: Int
  private var hash = XXH64()
  private var packed = ByteBuffer()

  /// How many ids have been appended.
  public private(set) var count = 0

  /// Begins a token file for ids below `vocabularyCount`, two bytes an id
  /// where that is enough, otherwise four.
  public init(_ url: URL, vocabularyCount: Int) throws {
    file = try AtomicFile(url.path)
    self.vocabularyCount = vocabularyCount
    width = TokenFileHeader.width(forVocabularyCount: vocabularyCount)
    try [UInt8](repeating: 0, count: TokenFileHeader.byteCount).withUnsafeBytes { try file.append($0) }
  }

  /// Appends ids; each must be at least 0 and below the vocabulary's count.
  public func append(_ ids: UnsafeBufferPointer<Int32>) throws {
    // As unsigned numbers, negative ids are the largest.
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
  public func append(_ ids: [Int32]) throws {
    try ids.withUnsafeBufferPointer { try append($0) }
  }

  /// Completes the header, forces the file to the disk and gives it its name.
  public func finish() throws {
    let header = TokenFileHeader(width: width, count: count, checksum: hash.value)
    try header.bytes.withUnsafeBytes { try file.overwriteStart(with: $0) }
    try file.finish()
  }
}
