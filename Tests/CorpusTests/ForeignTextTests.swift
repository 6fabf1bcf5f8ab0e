import Corpus
import Foundation
import Platform
import TestSupport
import Testing

/// What is given as text and is none, or not plain text.
///
/// Python and `tar` write the files.
struct ForeignTextTests {
  private let folder: TemporaryFolder
  private let text = "the cat sat\non the mat\n"

  init() throws {
    folder = try TemporaryFolder(inMemory: false)
    try folder.write(text, to: "t")
    try folder.write("the cat\n", to: "plain")
  }

  private func python(_ line: String) throws {
    let run = try start([
      "python3", "-c",
      "import bz2, gzip, lzma, os, tarfile, zipfile; os.chdir('\(folder.path)'); t = open('t', 'rb').read(); "
        + "w = lambda b: open('f', 'wb').write(b); \(line)",
    ])
    try #require(run.status == 0, "\(run.transcript)")
  }

  private func build(train: String, valid: String? = nil) throws -> Corpus {
    try CorpusBuilder(train: [folder.url(train)], valid: valid.map { [folder.url($0)] } ?? [])
      .build(at: folder.url("c"))
    return try Corpus(opening: folder.url("c"))
  }

  @Test(
    arguments: [
      ("w(t.decode().encode('utf-16-le'))", "a NUL byte (UTF-16 without a mark?) in line 1, byte 1"),
      ("w(t.decode().encode('utf-16-be'))", "a NUL byte (UTF-16 without a mark?) in line 1, byte 0"),
      ("w(t.decode().encode('utf-32-le'))", "a NUL byte (UTF-32 without a mark?) in line 1, byte 1"),
      ("w(t.decode().encode('utf-32-be'))", "a NUL byte (UTF-32 without a mark?) in line 1, byte 0"),
      ("w(t.decode().encode('utf-16'))", "UTF-16; convert it with: iconv -f UTF-16 -t UTF-8"),
      ("w(t.decode().encode('utf-32'))", "UTF-32; convert it with: iconv -f UTF-32 -t UTF-8"),
      ("a = tarfile.open('f', 'w'); a.add('t'); a.close()", "a NUL byte (a tar archive) in line 1, byte 1"),
      (
        "a = tarfile.open('f', 'w:gz'); a.add('t'); a.close()",
        "a NUL byte (a tar archive) in line 1, byte 1"
      ),
      ("w(t + b'\\0' * 4096)", "a NUL byte (zeros to the end, as a power cut may leave) in line 3, byte 23"),
      ("w(t + b'a\\0b\\n' + t)", "a NUL byte (binary or damaged data) in line 3, byte 24"),
      ("w(b'\\xef\\xbb\\xbf' + t + b'\\0b')", "a NUL byte (binary or damaged data) in line 3, byte 26"),
      ("w(t + b'\\xff\\0b\\n')", "another byte in line 3, byte 23"),
      ("w(t + b'\\xe2\\0b\\n')", "another byte in line 3, byte 23"),
      ("w(lzma.compress(t))", "xz data; decompress it with: xz -dc"),
      ("w(bz2.compress(t))", "bzip2 data; decompress it with: bzip2 -dc"),
      ("w(gzip.compress(gzip.compress(t)))", "gzip data within a compressed file"),
      (
        "w(b'version https://git-lfs.github.com/spec/v1\\noid sha256:4d7a2146\\nsize 12345\\n')",
        "a Git LFS pointer; fetch the content with: git lfs pull"
      ),
      ("w(b'/annex/objects/SHA256E-s12345--4d7a2146.txt\\n')", "a git-annex pointer"),
    ])
  func isRefusedEverywhere(python line: String, found: String) throws {
    try python(line)
    for (train, valid) in [("f", nil), ("t", "f")] as [(String, String?)] {
      let said = try #require(message { _ = try build(train: train, valid: valid) }, "\(found)")
      #expect(said.contains("found \(found)") && said.contains("/f,") && !said.contains("\n"), "\(said)")
    }
    let vocabulary = try build(train: "t").vocabulary
    let said = message { _ = try vocabulary.encode(contentsOf: folder.url("f")) }
    #expect(said?.contains("found \(found)") == true, "\(said ?? "")")
  }

  /// 7 words with `<unk>` and `<eos>`, and no unknown one among the validation text's 7.
  @Test(
    arguments: [
      "w(b'\\xef\\xbb\\xbf' + t)",
      "w(gzip.compress(t))",
      "w(gzip.compress(b'\\xef\\xbb\\xbf' + t))",
      "w(gzip.compress(t[:9]) + gzip.compress(t[9:]) + b'\\0' * 100_000)",
      "zipfile.ZipFile('f', 'w', zipfile.ZIP_DEFLATED).write('t')",
    ])
  func isTextAfterAll(python line: String) throws {
    try python(line)
    try FileManager.default.copyItem(at: folder.url("f"), to: folder.url("f.gz"))
    for name in line.contains("gzip") ? ["f", "f.gz"] : ["f"] {
      let corpus = try build(train: name, valid: name)
      #expect(corpus.vocabulary.words == ["<eos>", "the", "cat", "mat", "on", "sat", "<unk>"])
      #expect(corpus.description.counts(of: .valid)?.unknownTokens == 0)
      #expect(corpus.description.counts(of: .valid)?.tokens == 8)
      let encoded = try corpus.vocabulary.encode(contentsOf: folder.url(name))
      #expect(try encoded.tokens.ids == corpus.tokens(.train).ids)
    }
  }

  @Test(arguments: [
    ("b'\\0' * 9 + b'x'", "other bytes after zeros"), ("b'\\0' * 9 + gzip.compress(t)", "zeros"),
  ])
  func refusesBytesAfterTheZerosBehindGzip(python bytes: String, found: String) throws {
    try python("w(gzip.compress(t) + \(bytes))")
    let said = message { _ = try build(train: "f") }
    #expect(said?.contains(found) == true, "\(said ?? "")")
  }

  /// Compressed data is recognized on a pipe, which is read once; a zip archive is read from its end.
  @Test(arguments: ["gzip", "zip"])
  func readsCompressedDataFromAPipe(format: String) throws {
    try python(
      format == "gzip" ? "w(gzip.compress(t * 9000))" : "zipfile.ZipFile('f', 'w').write('t'); print(1)")
    let pipe = folder.file("pipe")
    try #require(mkfifo(pipe, 0o600) == 0)
    let writer = try RunningProgram(["sh", "-c", "cat \(folder.file("f")) > \(pipe)"])
    defer { _ = writer.wait() }
    guard format == "gzip" else {
      let said = message { _ = try build(train: "pipe") }
      #expect(said?.contains("expected a zip archive in a file") == true, "\(said ?? "")")
      return
    }
    #expect(try build(train: "pipe").description.counts(of: .train)?.lines == 18_000)
  }

  /// The output fills a block exactly when the input ends.
  @Test func readsADeflatedEntryOfWholeBlocks() throws {
    try python(
      "w(b'x ' * (1 << 20)); z = zipfile.ZipFile('z.zip', 'w', zipfile.ZIP_DEFLATED); z.write('f'); z.close()"
    )
    #expect(try build(train: "z.zip").description.counts(of: .train)?.tokens == (1 << 20) + 1)
  }

  @Test(arguments: ["vocabulary.txt", "train.tokens", "corpus.json"])
  func aPointerInPlaceOfAFileOfACorpusIsNamed(name: String) throws {
    _ = try build(train: "t")
    try folder.write(gitLFSPointer, to: "c/\(name)")
    let said = message { _ = try Corpus(opening: folder.url("c")) } ?? ""
    #expect(
      said.contains("c/\(name)") && said.contains("found a Git LFS pointer; fetch the content with"),
      "\(said)")
  }
}
