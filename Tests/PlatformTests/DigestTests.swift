import Foundation
import Platform
import TestSupport
import Testing

struct DigestTests {
  /// The expected hashes are those of libxxhash.
  @Test func xxh64IsThatOfTheReference() {
    #expect([UInt8]().withUnsafeBytes { XXH64.hash($0) } == 0xEF46_DB37_51D8_E999)
    #expect(Array("abc".utf8).withUnsafeBytes { XXH64.hash($0) } == 0x44BC_2CF5_AD77_0999)
  }

  @Test func hashesOfPiecesAreThoseOfTheWhole() {
    let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }
    var (hash, digest) = (XXH64(seed: 5), SHA256Digest())
    for range in [0..<0, 0..<1, 1..<40, 40..<1000] {
      bytes[range].withUnsafeBytes {
        hash.update($0)
        digest.update($0)
      }
    }
    #expect(hash.value == bytes.withUnsafeBytes { XXH64.hash($0, seed: 5) })
    #expect(digest.hexadecimal == SHA256Digest.hexadecimal(of: bytes))
  }

  /// The expected digest is the example of FIPS 180-2.
  @Test func sha256OfAFileIsThatOfTheStandard() throws {
    let folder = try TemporaryFolder()
    try folder.write("abc", to: "a")
    let expected = FileDigest(
      sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", byteCount: 3)
    #expect(try FileDigest(ofFile: folder.file("a")) == expected)
    var file = try DigestingFile(creating: folder.file("b"))
    try Array("abc".utf8).withUnsafeBytes { try file.write($0) }
    #expect(try file.finish() == expected)
  }

  @Test func hexadecimalHasSixteenDigits() {
    #expect(hexadecimal(0xAB) == "00000000000000ab")
    #expect(hexadecimal(.max) == "ffffffffffffffff")
  }

  /// The expected numbers are those of the authors' C code for state 1234567.
  @Test func splitMix64IsThatOfTheReference() {
    var generator = SplitMix64(state: 1_234_567)
    #expect(generator.next() == 6_457_827_717_110_365_317)
    #expect(generator.next() == 3_203_168_211_198_807_973)
    #expect(generator.next() == 9_817_491_932_198_370_423)
  }
}
