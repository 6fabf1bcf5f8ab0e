import Foundation
import TestSupport
import Testing

/// Texts as users have them, wherever a command reads one.
@Suite(.timeLimit(.minutes(5))) struct TextInputTests {
  private let bench: CommandBench

  init() throws { bench = try CommandBench() }

  /// A clone without `git lfs pull`: what it holds may be good, so nothing of a run is changed.
  @Test(arguments: [
    ("run/checkpoints/STEP/state.json", ["evaluate", "generate", "inspect", "resume"]),
    ("run/checkpoints/STEP/model.safetensors", ["evaluate", "generate", "inspect", "resume"]),
    ("run/checkpoints/STEP/optimizer.safetensors", ["resume"]),
    ("corpus/corpus.json", ["evaluate", "corpus", "train"]),
    ("corpus/vocabulary.txt", ["corpus", "train"]),
    ("corpus/train.tokens", ["corpus", "train"]),
    ("tiny.yaml", ["configuration", "plan", "train", "resume"]),
  ]) func aPointerOfGitLFSIsNamed(file: String, commands: [String]) throws {
    let run = try bench.train()
    let steps = try bench.folder.entries("run/checkpoints").filter { $0.hasPrefix("step-") }
    for step in steps { try bench.folder.write(gitLFSPointer, to: file.replacing("STEP", with: step)) }
    let entries = try FileManager.default.subpathsOfDirectory(atPath: bench.folder.path).sorted()
    let train = ["train", bench.configuration, "--corpus", bench.corpus, "--output"]
    let lines = [
      "evaluate": ["evaluate", run, "--corpus", bench.corpus], "generate": ["generate", run],
      "inspect": ["inspect", run], "corpus": ["inspect", bench.corpus],
      "configuration": ["inspect", bench.configuration],
      "plan": ["plan", bench.configuration, "--corpus", bench.corpus],
      "train": train + [bench.folder.file("new")], "resume": train + [run, "--resume", "auto"],
    ]
    for command in commands {
      let result = try start([program("milm")] + (lines[command] ?? []))
      let messages = result.errors.split(separator: "\n").filter { !$0.contains(" info: ") }
      #expect(result.status == 1 && messages.count == 1, "\(command): \(result.transcript)")
      #expect(
        result.errors.contains("\(file.split(separator: "/").last ?? "")")
          && result.errors.contains("found a Git LFS pointer; fetch the content with: git lfs pull"),
        "\(command): \(result.transcript)")
    }
    #expect(try FileManager.default.subpathsOfDirectory(atPath: bench.folder.path).sorted() == entries)
  }

  @Test func aMarkIsDroppedFromAConfiguration() throws {
    let text = try String(contentsOfFile: bench.configuration, encoding: .utf8)
    let outputs = try ["", "\u{FEFF}"].map { mark in
      try bench.folder.write("\(mark)\(text)", to: "tiny.yaml")
      return try object(try bench.milm("inspect", bench.configuration, "--json"))["parameters"] as? Int
    }
    #expect(outputs[0] != nil && outputs[0] == outputs[1])
  }

  private func prepareFromStandardInput(_ bytes: [UInt8]) throws -> [String: Any] {
    let file = try bench.folder.write(bytes, to: "input")
    return try object(
      try start([
        "sh", "-c",
        "cat \(file.path) | \(program("milm")) prepare --train /dev/stdin --json --output "
          + bench.folder.file("piped"),
      ]))
  }

  @Test func aMarkIsDroppedFromStandardInput() throws {
    let marked = try prepareFromStandardInput([0xEF, 0xBB, 0xBF] + Array("the cat sat\nthe dog sat\n".utf8))
    #expect(marked["vocabularySize"] as? Int == 6)
    let plain = try prepareFromStandardInput(Array("the cat sat\nthe dog sat\n".utf8))
    #expect(plain["vocabularyHash"] as? String == marked["vocabularyHash"] as? String)
  }

  @Test func aMarkIsDroppedFromATextToScoreAndFromAPrompt() throws {
    let run = try bench.train()
    let words = try String(contentsOfFile: "\(bench.corpus)/vocabulary.txt", encoding: .utf8)
      .split(separator: "\n").filter { !$0.hasPrefix("<") }
    let text = "\(words[3]) \(words[5])"
    let scores = try ["", "\u{FEFF}"].map { mark in
      let file = try bench.folder.write("\(mark)\(text)\n", to: "scored.txt").path
      let score = try object(try bench.milm("evaluate", run, "--text", file, "--json"))
      return [score["nll"] as? Double, score["unknownTokens"] as? Double]
    }
    #expect(scores[0] == scores[1] && scores[0][1] == 0, "\(scores)")
    let outputs = try ["", "\u{FEFF}"].map {
      try bench.milm("generate", run, "--prompt", "\($0)\(text)", "--tokens", "5", "--temperature", "0")
        .output
    }
    #expect(outputs[0] == outputs[1] && outputs[0].hasPrefix(text), "\(outputs)")
  }

  /// The token file shrinks under the job; all ranks stop with a checkpoint, and no signal kills one.
  @Test func aTokenFileTruncatedUnderAJobEndsItWithACheckpoint() throws {
    let output = bench.folder.file("run")
    let training = try RunningProgram(
      mpirunArguments(2) + [
        program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output", output,
        "--set", "training.steps=100000", "--set", "coordinator.checkpointEvery=100",
        "--set", "coordinator.evaluateEvery=0",
      ], environment: mpirunEnvironment)
    #expect(training.says("checkpoint written"))
    truncate("\(bench.corpus)/train.tokens", 1000)
    let run = training.wait()
    #expect(run.status == 1, "\(run.transcript)")
    #expect(run.errors.contains("train.tokens, found the file truncated to 1000 bytes"), "\(run.transcript)")
    let step = try bench.lastStep("run")
    #expect(run.errors.contains("stopped after step \(step), with a checkpoint"), "\(run.transcript)")
  }
}
