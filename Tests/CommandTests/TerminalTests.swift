import Foundation
import TestSupport
import Testing

/// Texts and names that would move the cursor, colour or reorder what a terminal shows.
@Suite(.timeLimit(.minutes(3))) struct TerminalTests {
  /// An escape sequence, its C1 form, and an override of the writing direction.
  private let odd = "x\u{1B}[31my\u{9B}2Jz\u{202E}w"
  private let shown = #"x\x1b[31my\x9b2Jz\u202ew"#

  private func expectHarmless(_ run: ProgramRun, status: Int32 = 0, contains: Bool = true) {
    let all = run.output + run.errors
    #expect(run.status == status, "\(run.transcript)")
    #expect(!contains || all.contains(shown) || all.contains("\\u001b"), "\(run.transcript)")
    for scalar in ["\u{1B}", "\u{9B}", "\u{202E}"] as [Unicode.Scalar] {
      #expect(!all.unicodeScalars.contains(scalar), "\(run.transcript)")
    }
  }

  @Test func everyCommandMakesThemVisible() throws {
    let folder = try TemporaryFolder()
    let bench = try CommandBench()
    let text = try folder.write(String(repeating: "a \(odd) b\n", count: 200), to: "\(odd).txt").path
    let corpus = folder.file("corpus-\(odd)")
    func milm(_ arguments: String...) throws -> ProgramRun { try start([program("milm")] + arguments) }
    expectHarmless(try milm("prepare", "--train", text, "--valid", text, "--output", corpus))
    expectHarmless(try milm("inspect", corpus))
    expectHarmless(try milm("prepare", "--train", text, "--output", corpus, "--json"))
    let run = folder.file("run-\(odd)")
    expectHarmless(try milm("train", bench.configuration, "--corpus", corpus, "--output", run, "--json"))
    expectHarmless(try milm("generate", run, "--tokens", "30", "--prompt", "a \(odd)"))
    expectHarmless(try milm("evaluate", run, "--text", text))
    expectHarmless(try milm("inspect", run))
    expectHarmless(try milm("report", run))
    expectHarmless(try milm("report", run, "--output", "/dev/stdout"))
    expectHarmless(try milm("inspect", "none-\(odd)"), status: 1)
    expectHarmless(try milm("inspect", run, "--\(odd)"), status: 64)
    expectHarmless(try milm("train", bench.configuration, "--set", "\(odd)=1"), status: 64)
    expectHarmless(try milm("\(odd)"), status: 64)
  }

  /// `script` gives the program a terminal; what it draws there comes out of a pipe.
  @Test(
    .tags(.mpi),
    arguments: ["", "mpirun -n 2 --oversubscribe --bind-to none", "launch.sh -n 2 --threads 1 --"])
  func progressIsDrawnOnATerminalThroughEveryLauncher(launcher: String) throws {
    guard try start(["sh", "-c", "command -v script"]).status == 0 else { return }
    let bench = try CommandBench()
    let milm = launcher.hasSuffix("--") ? [] : [program("milm")]
    let words =
      launcher.replacing("launch.sh", with: repositoryFolder.appending(path: "cluster/launch.sh").path)
      .split(separator: " ").map(String.init) + milm
      + ["train", bench.configuration, "--corpus", bench.corpus, "--output", bench.folder.file("run")]
    let line = "stty cols 60; " + words.map { "'\($0)'" }.joined(separator: " ")
    let run = try start(
      ["script", "-qec", line, "/dev/null"],
      environment: mpirunEnvironment.merging(["MILM": program("milm"), "SHELL": "/bin/bash"]) { $1 })
    #expect(run.status == 0, "\(run.transcript)")
    #expect(!run.output.contains("secondsLeft="), "\(run.transcript)")
    let drawn = run.output.components(separatedBy: "\r").filter {
      $0.contains(" %  ") && $0.contains("perplexity ")
    }
    #expect(drawn.contains { $0.hasPrefix("100 %") }, "\(run.transcript)")
    for text in drawn {
      let shown = text.prefix { $0 != "\u{1B}" && $0 != "\n" }
      #expect(shown.count < 60, "\(shown)")
    }
    // A message replaces the line, which is drawn again below it.
    let written = run.output.matches(of: /\r\u{1B}\[K[0-9:]{8} info: [^\r\n]*/)
    #expect(written.count >= 2, "\(run.transcript)")
  }
}
