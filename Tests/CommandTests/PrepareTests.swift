import Foundation
import TestSupport
import Testing

/// `milm prepare` as a user runs it: on downloads, on endless lines, killed.
@Suite(.timeLimit(.minutes(10))) struct PrepareTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder(inMemory: false) }

  private func prepare(_ arguments: [String]) throws -> ProgramRun {
    try start([program("milm"), "prepare", "--output", folder.file("c")] + arguments)
  }

  /// An archive of the shape of WikiText-103's, and its SHA-256.
  private func archive() throws -> (path: String, sha256: String) {
    let path = folder.file("w.zip")
    let run = try start([
      "python3", "-c",
      """
      import hashlib, sys, zipfile
      with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as archive:
        for split, count in (("train", 5000), ("valid", 20), ("test", 30)):
          lines = (f" a word of {split} {index * 7919 % 1000} \\n" for index in range(count))
          archive.writestr(f"wikitext-103/wiki.{split}.tokens", "".join(lines))
      print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest(), end="")
      """, path,
    ])
    try #require(run.status == 0, "\(run.transcript)")
    return (path, run.output)
  }

  @Test func downloadsAKnownCorpusAcrossABrokenConnection() throws {
    let (path, sha256) = try archive()
    let server = try FileServer(Array(try Data(contentsOf: URL(filePath: path))))
    let run = try prepare([
      "wikitext-103", "--url", try server.address("missing").absoluteString, "--url",
      try server.address("breaks").absoluteString, "--sha256", sha256, "--json",
    ])
    try #require(run.status == 0, "\(run.transcript)")
    let splits = try #require(try object(run)["splits"] as? [String: [String: Int]])
    #expect(splits.mapValues { $0["tokens"] } == ["train": 30_000, "valid": 120, "test": 180])
    #expect(run.errors.contains("stage=download"))
    #expect(server.requests.count > 2 && server.requests.dropFirst(2).allSatisfy { $0.contains("bytes=") })
    #expect(try folder.entries() == ["c", "w.zip"])
  }

  @Test func takesADownloadedArchive() throws {
    let (path, sha256) = try archive()
    let run = try prepare(["wikitext-103", "--archive", path, "--sha256", sha256])
    #expect(run.status == 0 && run.output.contains("30000 tokens, 5000 lines"), "\(run.transcript)")
    #expect(try folder.entries() == ["c", "w.zip"])
  }

  @Test func anArchiveThatIsNotThePublishedOneIsRefused() throws {
    let run = try prepare(["wikitext-103", "--archive", try archive().path])
    #expect(run.status == 1 && run.errors.contains("expected SHA-256 242ba0f2"), "\(run.transcript)")
    #expect(try folder.entries() == ["w.zip"])
  }

  @Test func whereNoAddressServesItTheErrorNamesTheArchiveOption() throws {
    let server = try FileServer([1, 2, 3])
    let run = try prepare([
      "wikitext-103", "--url", try server.address("missing").absoluteString, "--url",
      try server.address("whole").absoluteString,
    ])
    #expect(run.status == 1)
    let lines = run.errors.split(separator: "\n")
    #expect(lines.count == 1 && run.errors.contains("--archive FILE"), "\(run.transcript)")
    #expect(run.errors.contains("HTTP status 404") && run.errors.contains("190229076"), "\(run.transcript)")
  }

  @Test(arguments: [
    ["wikitext-103", "--train", "a"], ["--train", "a", "--archive", "b"],
    ["wikitext-103", "--min-count", "2"],
    ["wikitext-103", "--url", "ftp://a/b"], ["wikitext-103", "--sha256", "abc"],
    ["wikitext-103", "--archive", "a", "--url", "http://a/b"], ["wikitext-104"],
  ])
  func refusesWhatDoesNotGoTogether(arguments: [String]) throws {
    #expect(try prepare(arguments).status == 64)
  }

  /// Half a gigabyte would be enough to hold half of it, and the words take none.
  @Test func aLineOfAGigabyteThroughAPipeTakesLittleMemory() throws {
    let run = try start([
      "python3", "-c",
      """
      import resource, subprocess, sys
      milm = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
      part = b"".join(b"%0127d " % (number % 1000) for number in range(8192))
      for _ in range(1024):
        milm.stdin.write(part)
      milm.stdin.close()
      milm.wait()
      print(milm.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
      """, program("milm"), "prepare", "--train", "/dev/stdin", "--output", folder.file("c"),
    ])
    let numbers = run.output.split(separator: " ").compactMap { Int($0.trimmingCharacters(in: .newlines)) }
    try #require(numbers.count == 2 && numbers[0] == 0, "\(run.transcript)")
    #expect(numbers[1] < 200, "\(numbers[1]) MB")
    let inspected = try start([program("milm"), "inspect", folder.file("c")])
    #expect(inspected.output.contains("8388609 tokens, 1 lines"), "\(inspected.transcript)")
  }

  @Test func aKilledBuildLeavesTheEarlierCorpusOrTheNewOne() throws {
    let small = try folder.write("one small text\n", to: "small.txt").path
    let large = try folder.write(
      String(repeating: "a large text of some words\n", count: 800_000), to: "large.txt")
    try #require(try prepare(["--train", small]).status == 0)
    var killedCount = 0
    for milliseconds in [20, 60, 120, 200, 300, 450, 700, 1000] {
      let build = try RunningProgram([
        program("milm"), "prepare", "--train", large.path, "--output", folder.file("c"),
      ])
      usleep(UInt32(milliseconds) * 1000)
      kill(build.processID, SIGKILL)
      if build.wait().status == SIGKILL { killedCount += 1 }
      let inspected = try start([program("milm"), "inspect", folder.file("c")])
      #expect(inspected.status == 0, "\(inspected.transcript)")
      #expect(
        inspected.output.contains("4 tokens, 1 lines")
          || inspected.output.contains("5600000 tokens, 800000 lines"), "\(inspected.transcript)")
    }
    #expect(killedCount > 0)
    try #require(try prepare(["--train", small]).status == 0)
    #expect(try folder.entries() == ["c", "large.txt", "small.txt"])
  }

  @Test func theBenchmarkMeasuresABuild() throws {
    let run = try start([
      program("milm"), "benchmark", "prepare", "--words", "20000", "--rounds", "2", "--folder", folder.path,
      "--json",
    ])
    let result = try object(run)
    #expect(result["vocabulary"] as? Int == 20_002 && result["tokens"] as? Int == 41_600)
    #expect((result["seconds"] as? [Double])?.count == 2)
    #expect(
      (result["megabytesPerSecond"] as? Double ?? 0) > 0 && (result["peakMegabytes"] as? Double ?? 0) > 1)
    #expect(try folder.entries() == [])
  }
}
