import Corpus
import Foundation
import Platform
import TestSupport
import Testing

/// Archives are made by Python's `gzip` and `zipfile`.
struct ArchiveTests {
  private let folder: TemporaryFolder
  private let vocabulary: Vocabulary
  private let text: String
  private let expected: [Int32]

  init() throws {
    folder = try TemporaryFolder()
    text = (0..<60_000).map { "word\($0 % 977)\($0 % 13 == 0 ? "\n" : " ")" }.joined()
    vocabulary = try Vocabulary(counts: (0..<977).map { ("word\($0)", 1) })
    expected = try vocabulary.encode(text).tokens.ids
    try folder.write(text, to: "text")
  }

  /// Runs a line of Python in the directory.
  private func python(_ line: String) throws {
    let run = try start(["python3", "-c", "import gzip, os, zipfile; os.chdir('\(folder.path)'); \(line)"])
    try #require(run.status == 0, "\(run.transcript)")
  }

  private func expectText(_ name: String) throws {
    let found = try vocabulary.encode(contentsOf: folder.url(name)).tokens.ids
    #expect(firstDifference(found, expected) == nil, "\(name)")
  }

  @Test func readsGzipOfOneAndSeveralMembers() throws {
    try python("t = open('text', 'rb').read(); open('1.gz', 'wb').write(gzip.compress(t))")
    try python(
      """
      t = open('text', 'rb').read()
      open('3.gz', 'wb').write(b''.join(map(gzip.compress, (t[:70001], b'', t[70001:]))))
      """.replacingOccurrences(of: "\n", with: "; "))
    try expectText("1.gz")
    try expectText("3.gz")
  }

  @Test(arguments: ["ZIP_STORED", "ZIP_DEFLATED"])
  func readsAZipWithOneFile(method: String) throws {
    try python("zipfile.ZipFile('a.zip', 'w', zipfile.\(method)).write('text', 'folder/text.txt')")
    try expectText("a.zip")
  }

  @Test(arguments: [
    ("cut off", "truncated"), ("flipped", "a.gz"), ("no gzip", "gzip"), ("more behind", "gzip"),
  ])
  func refusesCorruptedGzip(corruption: String, part: String) throws {
    try python("open('a.gz', 'wb').write(gzip.compress(open('text', 'rb').read()))")
    var bytes = Array(try Data(contentsOf: folder.url("a.gz")))
    switch corruption {
    case "cut off": bytes.removeLast(9)
    case "flipped": bytes[bytes.count / 2] ^= 4
    case "no gzip": bytes = Array("plain text".utf8)
    default: bytes += Array("rest".utf8)
    }
    let file = try folder.write(bytes, to: "a.gz")
    let said = try #require(message { _ = try vocabulary.encode(contentsOf: file) })
    #expect(said.contains(part) && said.contains("a.gz") && !said.contains("\n"), "\(said)")
  }

  @Test(arguments: [
    ("z.writestr('a', b'x'); z.writestr('b', b'y')", "found a, b"),
    ("pass", "found none"),
    ("z.write('text', 'a', zipfile.ZIP_BZIP2)", "compression method 12"),
  ])
  func refusesUnsupportedZips(python line: String, part: String) throws {
    try python("z = zipfile.ZipFile('a.zip', 'w'); \(line); z.close()")
    let said = try #require(message { _ = try vocabulary.encode(contentsOf: folder.url("a.zip")) })
    #expect(said.contains(part) && said.contains("a.zip") && !said.contains("\n"), "\(said)")
  }

  @Test func corruptedZipsAreRefusedOrHarmless() throws {
    try python("zipfile.ZipFile('a.zip', 'w', zipfile.ZIP_DEFLATED).write('text', 't'); t = 0")
    let whole = Array(try Data(contentsOf: folder.url("a.zip")))
    var generator = SplitMix64(state: 7)
    for round in 0..<fuzzCount / 10 {
      let file = try folder.write(mutated(whole, &generator), to: "m.zip")
      do {
        let found = try vocabulary.encode(contentsOf: file).tokens.ids
        #expect(firstDifference(found, expected) == nil, "round \(round)")
      } catch let error as MilmError {
        #expect(error.description.contains("m.zip") && !error.description.contains("\n"), "\(error)")
      }
    }
  }

  @Test func findsTheFilesOfWikiTextInItsArchive() throws {
    try python(
      """
      z = zipfile.ZipFile('w.zip', 'w', zipfile.ZIP_DEFLATED)
      z.mkdir('wikitext-103') if hasattr(z, 'mkdir') else None
      [z.writestr(f'wikitext-103/wiki.{s}.tokens', f'a b {s}\\n' * n) for s, n in (('test', 1), ('train', 5), ('valid', 2))]
      z.close()
      """.replacingOccurrences(of: "\n", with: "; "))
    let builder = WikiText103.builder(archive: folder.url("w.zip"), isPublished: false)
    let described = try builder.build(at: folder.url("c"))
    #expect(Split.allCases.map { described.counts(of: $0)?.tokens } == [20, 8, 4])
    #expect(described.sources.map(\.path).allSatisfy { $0.contains("w.zip:wiki.") })
    // sha256sum of "a b test\n"
    #expect(
      described.sources.last?.sha256 == "89c601d669b50f132ff5133819dc99fee2c87a5a620368ecfa45506df3da0baa")
    let published = message {
      _ = try WikiText103.builder(archive: folder.url("w.zip")).build(at: folder.url("d"))
    }
    #expect(published == "expected 103227021 tokens in train of WikiText-103, found 20")
    #expect(try folder.entries() == ["c", "text", "w.zip"])
  }
}
