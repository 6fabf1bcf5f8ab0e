import Foundation
import TestSupport
import Testing

/// `milm evaluate --lines` in a pipe.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(5))) struct LinesTests {
  private let bench: CommandBench
  private let run: String

  init() throws {
    bench = try CommandBench()
    run = try bench.train()
  }

  /// A program that is given one line after the other and waits for the answer to each.
  private final class Conversation {
    let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var buffer: [UInt8] = []

    init(_ arguments: [String]) throws {
      process.executableURL = URL(filePath: program("milm"))
      process.arguments = arguments
      process.standardInput = input
      process.standardOutput = output
      var none = sigset_t()
      var before = sigset_t()
      sigemptyset(&none)
      pthread_sigmask(SIG_SETMASK, &none, &before)
      defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
      try process.run()
    }

    func write(_ text: String) throws { try input.fileHandleForWriting.write(contentsOf: Data(text.utf8)) }

    func close() throws { try input.fileHandleForWriting.close() }

    /// The next line of its output, waited for; nil at the end.
    func line() -> String? {
      while true {
        if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
          defer { buffer.removeFirst(end + 1) }
          return String(decoding: buffer[..<end], as: UTF8.self)
        }
        let more = output.fileHandleForReading.availableData
        if more.isEmpty { return nil }
        buffer += more
      }
    }
  }

  private func tokenCount(_ row: String?) -> Int? {
    row.flatMap { $0.split(separator: "\t").dropFirst().first }.flatMap { Int($0) }
  }

  @Test func eachLineIsAnsweredBeforeTheNextIsWritten() throws {
    let talk = try Conversation(["evaluate", run, "--lines", "-"])
    for count in [2, 0, 5, 70] {
      try talk.write((0..<count).map { "w\($0)" }.joined(separator: " ") + "\n")
      #expect(tokenCount(talk.line()) == count + 1)
    }
    // Half a line is no line; the end of the input ends it.
    try talk.write("half of ")
    try talk.write("a line\nand another")
    #expect(tokenCount(talk.line()) == 5)
    try talk.close()
    #expect(tokenCount(talk.line()) == 3)
    #expect(talk.line() == nil)
    talk.process.waitUntilExit()
    #expect(talk.process.terminationStatus == 0)
  }

  @Test(arguments: [SIGTERM, SIGINT]) func aSignalEndsItWhileItWaits(signal: Int32) throws {
    let talk = try Conversation(["evaluate", run, "--lines", "-"])
    try talk.write("a\n")
    #expect(tokenCount(talk.line()) == 2)
    kill(talk.process.processIdentifier, signal)
    #expect(talk.line() == nil)
    talk.process.waitUntilExit()
    #expect(talk.process.terminationReason == .exit && talk.process.terminationStatus == 75)
  }

  @Test func oneProcessAndManyGiveTheSameRows() throws {
    let words = try String(contentsOfFile: "\(bench.corpus)/vocabulary.txt", encoding: .utf8)
      .split(separator: "\n")
    let lines = (0..<300).map { line in
      (0..<line % 23).map { String(words[(line * 7 + $0) % words.count]) }.joined(separator: " ")
    }
    let path = try bench.folder.write(lines.joined(separator: "\n") + "\nnever seen\n", to: "lines").path
    let alone = try bench.milm("evaluate", run, "--lines", path)
    let rows = alone.output.split(separator: "\n").map { $0.split(separator: "\t").map(String.init) }
    #expect(alone.status == 0 && rows.count == 301, "\(alone.errors)")
    #expect(rows[300].dropFirst() == ["3", "2"] && rows[0].dropFirst() == ["1", "0"])
    let shell = "cat \(path) | \(program("milm")) evaluate \(run) --lines -"
    #expect(try start(["bash", "-c", shell]).output == alone.output)
    #expect(try bench.mpirunMilm(2, "evaluate", run, "--lines", path).output == alone.output)
    let json = try bench.milm("evaluate", run, "--lines", path, "--json").output.split(separator: "\n")
    let objects = try json.map { try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any] }
    #expect(objects.map { $0?["line"] as? Int } == Array(1...301))
    for (object, row) in zip(objects, rows) {
      let (found, expected) = (object?["nll"] as? Double ?? 0, Double(row[0]) ?? -1)
      #expect(abs(found - expected) <= 1e-12 * expected)
    }
    #expect(objects[300]?["unknownTokens"] as? Int == 2)
    let early = try start(["bash", "-c", "\(shell) | head -1; exit ${PIPESTATUS[1]}"])
    #expect([0, 1].contains(early.status) && early.output == "\(alone.output.prefix { $0 != "\n" })\n")
    #expect(early.errors.split(separator: "\n").count <= 1, "\(early.errors)")
    // The whole text as one stream.
    let piped = try object(
      try start(["bash", "-c", "cat \(path) | \(program("milm")) evaluate \(run) --text - --json"]))
    let file = try object(try bench.milm("evaluate", run, "--text", path, "--json"))
    #expect(piped["nll"] as? Double == file["nll"] as? Double && piped["text"] as? String == "-")
  }

  @Test func whatIsNotTextIsNamedWithItsLine() throws {
    for (bytes, expected) in [
      ("a b\\nc\\xff\\n", "expected UTF-8 in standard input, found another byte in line 2, byte 5"),
      ("\\x1f\\x8b\\x08\\n", "expected text in standard input, found gzip data"),
    ] {
      let result = try start([
        "bash", "-c", "printf '\(bytes)' | \(program("milm")) evaluate \(run) --lines -",
      ])
      #expect(result.status == 1 && result.errors.contains(expected), "\(result.transcript)")
      #expect(result.errors.split(separator: "\n").count == 1)
      #expect(result.output.split(separator: "\n").count == (bytes.hasPrefix("a") ? 1 : 0))
    }
  }

  @Test(arguments: [
    ["--lines", "f", "--split", "valid"], ["--lines", "f", "--text", "g"],
    ["--lines", "f", "--streams", "2"],
    ["--lines", "f", "--cache", "9"], ["--lines", "f", "--dynamic"], ["--lines", "f", "--per-token", "g"],
    ["--corpus", "c", "--context", "a"],
  ])
  func impossibleCombinationsAreWrongUsage(options: [String]) throws {
    let result = try start([program("milm"), "evaluate", run] + options)
    #expect(result.status == 64, "\(result.transcript)")
  }
}
