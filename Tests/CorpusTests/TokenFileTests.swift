import Corpus
import Foundation
import TestSupport
import Testing

struct TokenFileTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func write(_ ids: [Int32], vocabularyCount: Int) throws -> URL {
    let writer = try TokenFileWriter(folder.url("ids.tokens"), vocabularyCount: vocabularyCount)
    try writer.append(Array(ids.prefix(ids.count / 3)))
    try writer.append(Array(ids.dropFirst(ids.count / 3)))
    try writer.finish()
    return folder.url("ids.tokens")
  }

  @Test(arguments: [(65536, 2), (65537, 4), (2, 2), (300_000, 4)])
  func roundTrips(vocabularyCount: Int, width: Int) throws {
    let ids = (0..<1000).map { Int32($0 * 7919 % vocabularyCount) } + [Int32(vocabularyCount - 1)]
    let url = try write(ids, vocabularyCount: vocabularyCount)
    #expect(try Data(contentsOf: url).count == 64 + width * ids.count)
    let file = try TokenFile(opening: url, vocabularyCount: vocabularyCount)
    #expect(firstDifference(file.ids, ids) == nil)
    var part = [Int32](repeating: -1, count: 301)
    try part.withUnsafeMutableBufferPointer { try file.copy(200..<500, into: $0) }
    #expect(part == Array(ids[200..<500]) + [-1])
    #expect(try folder.entries() == ["ids.tokens"])
  }

  /// Written by hand from the format's specification; the hash is that of libxxhash.
  @Test func bytesFollowTheFormat() throws {
    let url = try write([0x3C, 0x756E, 0x6B3E], vocabularyCount: 65536)
    let header: [UInt8] =
      Array("MILMTOK1".utf8) + [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0] + [
        0x08, 0xF1, 0x37, 0x55, 0xBB, 0xB0, 0x87, 0x0A,
      ]
      + [UInt8](repeating: 0, count: 32)
    #expect(try [UInt8](Data(contentsOf: url)) == header + [0x3C, 0, 0x6E, 0x75, 0x3E, 0x6B])
  }

  @Test func anEmptyFileHasNoTokens() throws {
    #expect(try TokenFile(opening: write([], vocabularyCount: 3), vocabularyCount: 3).count == 0)
  }

  @Test func anUnfinishedFileLeavesNothing() throws {
    do {
      let writer = try TokenFileWriter(folder.url("ids.tokens"), vocabularyCount: 9)
      try writer.append([1, 2, 3])
      #expect(try folder.entries().count == 1)
    }
    #expect(try folder.entries() == [])
  }

  /// A flipped bit in any byte is detected.
  @Test(arguments: [100, 70_000])
  func detectsEveryFlippedByte(vocabularyCount: Int) throws {
    let url = try write((0..<20).map { Int32($0) }, vocabularyCount: vocabularyCount)
    let bytes = [UInt8](try Data(contentsOf: url))
    for offset in bytes.indices {
      var corrupted = bytes
      corrupted[offset] ^= 0x10
      try Data(corrupted).write(to: url)
      let said = message { _ = try TokenFile(opening: url, vocabularyCount: vocabularyCount) }
      #expect(said?.contains("ids.tokens") == true, "byte \(offset)")
      #expect(said?.contains("\n") == false)
    }
  }

  @Test func detectsEveryWrongLength() throws {
    let url = try write((0..<20).map { Int32($0) }, vocabularyCount: 100)
    let bytes = [UInt8](try Data(contentsOf: url))
    for byteCount in Array(0..<bytes.count) + [bytes.count + 1] {
      try Data((bytes + [0]).prefix(byteCount)).write(to: url)
      let said = message {
        _ = try TokenFile(opening: url, vocabularyCount: 100, verification: .headerOnly)
      }
      #expect(said?.contains("ids.tokens") == true, "\(byteCount) bytes")
    }
  }

  @Test(arguments: [.max, 1 << 63, 1 << 62, (1 << 63) + 20, 19, 21] as [UInt64])
  func refusesAnAbsurdCount(count: UInt64) throws {
    let url = try write((0..<20).map { Int32($0) }, vocabularyCount: 100)
    var bytes = [UInt8](try Data(contentsOf: url))
    withUnsafeBytes(of: count.littleEndian) { bytes.replaceSubrange(16..<24, with: $0) }
    try Data(bytes).write(to: url)
    let said = message { _ = try TokenFile(opening: url, vocabularyCount: 100, verification: .headerOnly) }
    #expect(said?.contains("expected \(count) ids") == true)
  }

  @Test(arguments: [(50, 49), (70_000, 69_999)])
  func refusesIdsOutsideTheVocabulary(vocabularyCount: Int, largest: Int32) throws {
    let url = try write([1, largest, 2], vocabularyCount: vocabularyCount)
    let said = message { _ = try TokenFile(opening: url, vocabularyCount: vocabularyCount - 1) }
    #expect(
      said?.contains("below \(vocabularyCount - 1)") == true && said?.contains("found \(largest)") == true)
  }

  @Test func headerOnlyVerificationSkipsTheIds() throws {
    let url = try write([1, 2, 3], vocabularyCount: 100)
    var bytes = [UInt8](try Data(contentsOf: url))
    bytes[64] = 99
    try Data(bytes).write(to: url)
    let file = try TokenFile(opening: url, vocabularyCount: 100, verification: .headerOnly)
    #expect(file.ids == [99, 2, 3])
  }

  /// What happens to a file while it is in use, and what a read of all tokens then says.
  @Test(arguments: [50, 70_000])
  func aFileThatChangesWhileItIsInUseIsAnErrorOfTheRead(vocabularyCount: Int) throws {
    let url = try write((0..<40).map { Int32($0) }, vocabularyCount: vocabularyCount)
    let whole = try Data(contentsOf: url)
    let file = try TokenFile(opening: url, vocabularyCount: vocabularyCount)
    var ids = [Int32](repeating: 0, count: 40)
    func said(_ range: Range<Int>) -> String? {
      message { try ids.withUnsafeMutableBufferPointer { try file.copy(range, into: $0) } }
    }
    for byteCount in [0, 64, 64 + 10 * ((whole.count - 64) / 40) + 1] {
      try #require(truncate(url.path, off_t(byteCount)) == 0)
      let error = said(0..<40)
      #expect(
        error?.contains("expected 40 tokens in \(url.path), found the file truncated to \(byteCount) bytes")
          == true)
    }
    #expect(said(0..<10) == nil)
    let overwriting = try FileHandle(forWritingTo: url)
    try overwriting.write(contentsOf: whole.prefix(64) + Data(repeating: 0xFE, count: whole.count - 64))
    #expect(said(5..<9)?.contains("expected ids below \(vocabularyCount) in \(url.path), found ") == true)
    #expect(said(5..<9)?.contains("in tokens 5 to 8; the file has changed since it was opened") == true)
    // A new corpus at the same place is another file.
    try overwriting.seek(toOffset: 0)
    try overwriting.write(contentsOf: whole)
    unlink(url.path)
    #expect(said(0..<40) == nil && ids == (0..<40).map { Int32($0) })
  }

  @Test func refusesOtherFiles() throws {
    let missing = message { _ = try TokenFile(opening: folder.url("none"), vocabularyCount: 9) }
    #expect(missing?.contains("No such file") == true)
    let directory = message { _ = try TokenFile(opening: URL(filePath: folder.path), vocabularyCount: 9) }
    #expect(directory?.contains("expected a token file") == true)
    let text = try folder.write(String(repeating: "text ", count: 99), to: "a.txt")
    #expect(message { _ = try TokenFile(opening: text, vocabularyCount: 9) }?.contains("magic") == true)
  }
}
