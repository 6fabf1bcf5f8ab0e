import Foundation
import Platform
import TestSupport
import Testing

/// Commands on files whose numbers no run can have written, with valid checksums: `Tests/EndToEnd/hostile-files.py` tries
/// many more.
@Suite(.timeLimit(.minutes(5))) struct HostileFileTests {
  /// What to put in place of the first match of a pattern in a file.
  struct Change: Sendable, CustomStringConvertible {
    let file: String
    let pattern: String
    let replacement: String
    var description: String { "\(file): \(pattern) → \(replacement)" }
  }

  private static let numbers = ["9223372036854775807", "-9223372036854775808", "-1", "4611686018427387904"]
  private static let fields: [(String, [String])] = [
    (
      "run/checkpoints/last/state.json",
      ["step", "segmentIndex", "tokenCount", "skippedStepCount", "bestStep"]
    ),
    ("run/metrics.jsonl", ["step", "tokens", "rawBytes", "skippedSteps"]),
    ("run/sessions.jsonl", ["step", "tokens", "lastStep", "parameters"]),
    ("corpus/corpus.json", ["tokens", "lines", "unknownTokens", "vocabularySize"]),
  ]

  static let changes: [Change] =
    fields.flatMap { file, names in
      names.enumerated().map { index, name in
        Change(
          file: file, pattern: "\"\(name)\"\\s*:\\s*[0-9]+",
          replacement: "\"\(name)\":\(numbers[index % numbers.count])")
      }
    } + [
      Change(
        file: "run/checkpoints/last/state.json", pattern: "\"losses\" : \\[[^\\]]*\\]",
        replacement: "\"losses\" : []"),
      Change(
        file: "run/metrics.jsonl", pattern: "\"loss\":[0-9.]+", replacement: "\"loss\":1e308"),
      Change(
        file: "run/metrics.jsonl", pattern: "\"gradientNorm\":[0-9.]+", replacement: "\"gradientNorm\":-1e308"
      ),
      Change(
        file: "run/metrics.jsonl", pattern: "\"learningRate\":[-0-9.e]+",
        replacement: "\"learningRate\":5e-324"),
    ]

  private func apply(_ change: Change, in folder: TemporaryFolder) throws {
    let url = URL(filePath: folder.file(change.file)).resolvingSymlinksInPath()
    var text = try String(contentsOf: url, encoding: .utf8)
    let place = try #require(text.range(of: change.pattern, options: .regularExpression), "\(change)")
    text.replaceSubrange(place, with: change.replacement)
    if change.file.hasSuffix("state.json") {
      let members = try #require(text.range(of: ",\n  \"checksum\"")).lowerBound
      let content = Array(text[..<members].utf8)
      let checksum = SHA256Digest.hexadecimal(of: content + Array("\n}\n".utf8))
      text = String(decoding: content, as: UTF8.self) + ",\n  \"checksum\" : \"\(checksum)\"\n}\n"
    }
    try Data(text.utf8).write(to: url)
  }

  @Test func everyCommandEndsWithAResultOrOneLine() throws {
    let bench = try CommandBench()
    try bench.train()
    for name in ["run", "corpus"] {
      try FileManager.default.moveItem(
        atPath: bench.folder.file(name), toPath: bench.folder.file("good-\(name)"))
    }
    for change in Self.changes {
      for name in ["run", "corpus"] {
        try? FileManager.default.removeItem(atPath: bench.folder.file(name))
        try FileManager.default.copyItem(
          atPath: bench.folder.file("good-\(name)"), toPath: bench.folder.file(name))
      }
      try apply(change, in: bench.folder)
      let run = bench.folder.file("run")
      var commands = [
        ["report", run],
        [
          "train", bench.configuration, "--corpus", bench.corpus, "--output", run, "--resume", "auto",
          "--set", "training.steps=13",
        ],
      ]
      if change.file.hasSuffix("state.json") { commands.insert(["inspect", run], at: 0) }
      if change.file.hasSuffix("corpus.json") {
        commands = [["inspect", bench.corpus], ["evaluate", run, "--corpus", bench.corpus]]
      }
      for command in commands {
        let result = try start([program("milm")] + command)
        #expect([0, 1].contains(result.status), "\(change): \(command[0]): \(result.transcript)")
        #expect(
          result.status == 0 || !result.errors.isEmpty, "\(change): \(command[0]): \(result.transcript)")
      }
    }
  }

  /// The number is the largest whose successor has no text of its own length.
  @Test(arguments: ["9223372036854775807", "99999999999999999999999999", "-5", ""])
  func anEventFileOfAnyNameIsNoObstacle(number: String) throws {
    let bench = try CommandBench()
    let output = try bench.train()
    try bench.folder.write("", to: "run/tensorboard/events.out.tfevents.\(number).host.1.milm")
    let run = try bench.milm(
      "train", bench.configuration, "--corpus", bench.corpus, "--output", output, "--resume", "auto", "--set",
      "training.steps=13")
    #expect(run.status == 0, "\(run.transcript)")
  }

  @Test(arguments: [
    ["plan"], ["benchmark", "step"], ["benchmark", "evaluate"], ["benchmark", "products"],
    ["benchmark", "exchange"],
  ])
  func sizesThatCannotBeHeldAreOneLine(command: [String]) throws {
    let bench = try CommandBench()
    let huge = [
      "model.hidden=65536", "model.embedding=65536", "model.decoderContext=4096", "training.lanes=1024",
      "training.segment=1024", "exchange.vocabulary=replicated",
    ]
    let run = try start(
      [program("milm")] + command + [bench.configuration] + huge.flatMap { ["--set", $0] })
    let isRefused = ["a rank needs about", "cannot be held"].contains { run.errors.contains($0) }
    #expect(run.status == 1 && isRefused, "\(run.transcript)")
    for option in [["--vocabulary-size", "9223372036854775807"]] {
      let wrong = try start([program("milm")] + command + [bench.configuration] + option)
      #expect(wrong.status == 64, "\(wrong.transcript)")
    }
  }
}
