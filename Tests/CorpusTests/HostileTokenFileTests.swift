import Corpus
import Foundation
import Platform
import TestSupport
import Testing

/// Malicious token files.
struct HostileTokenFileTests {
  /// Half of the files get a valid checksum, so that the checks of ids and header are reached.
  @Test(arguments: [300, 70_000])
  func randomChangesAreRefusedOrHarmless(vocabularyCount: Int) throws {
    let folder = try TemporaryFolder()
    let url = folder.url("ids.tokens")
    let writer = try TokenFileWriter(url, vocabularyCount: vocabularyCount)
    try writer.append((0..<60).map { Int32($0 * 4) })
    try writer.finish()
    let original = [UInt8](try Data(contentsOf: url))
    var generator = SplitMix64(state: UInt64(vocabularyCount))
    var (sealedCount, passedCount, acceptedCount) = (0, 0, 0)
    for number in 0..<fuzzCount {
      var content = mutated(original, &generator)
      if number % 2 == 0 {
        seal(&content)
        sealedCount += 1
      }
      unlink(url.path)
      try Data(content).write(to: url)
      let headed = try? TokenFile(
        opening: url, vocabularyCount: vocabularyCount, verification: .headerOnly)
      if headed != nil { passedCount += 1 }
      do {
        let file = try TokenFile(opening: url, vocabularyCount: vocabularyCount)
        acceptedCount += 1
        let ids = file.ids
        #expect(ids.count == file.count && ids.allSatisfy { (0..<Int32(vocabularyCount)).contains($0) })
        #expect(file.count <= content.count / 2)
      } catch {
        #expect(!"\(error)".contains("\n"))
      }
    }
    reportFuzz(
      "token file", sealedCount: sealedCount, passedCount: passedCount, acceptedCount: acceptedCount)
    #expect((fuzzCount / 200..<fuzzCount / 2).contains(acceptedCount), "\(acceptedCount)")
  }

  private func seal(_ content: inout [UInt8]) {
    guard content.count >= 64 else { return }
    let checksum = content[64...].withUnsafeBytes { XXH64.hash($0) }
    for byte in 0..<8 { content[24 + byte] = UInt8(truncatingIfNeeded: checksum >> (8 * UInt64(byte))) }
  }
}
