import Checkpoints
import Foundation
import Platform
import TestSupport
import Testing

/// Models whose numbers are beyond all bounds.
@Suite(.timeLimit(.minutes(3))) struct OddNumbersTests {
  private let bench: CommandBench
  private let run: String
  private let trained: ProgramRun

  /// One step that is much too large: losses are finite, and perplexities are not.
  init() throws {
    bench = try CommandBench()
    run = bench.folder.file("run")
    let settings = [
      "optimizer.kind=sgd", "optimizer.learningRate=1e9", "schedule.kind=constant", "schedule.warmup=0",
      "training.steps=1",
    ]
    trained = try start(
      [program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output", run, "--json"]
        + settings.flatMap { ["--set", $0] })
    try #require(trained.status == 0, "\(trained.transcript)")
  }

  @Test func everyJSONIsOneObjectWithNull() throws {
    #expect(try object(trained)["step"] as? Int == 1)
    let evaluated = try object(try bench.milm("evaluate", run, "--corpus", bench.corpus, "--json"))
    #expect(evaluated["perplexity"] is NSNull && (evaluated["nll"] as? Double)?.isFinite == true)
    let buckets = try #require(evaluated["buckets"] as? [[String: Any]])
    #expect(buckets.contains { $0["perplexity"] is NSNull || $0["perplexity"] == nil })
    #expect(try object(try bench.milm("inspect", run, "--json"))["step"] as? Int == 1)
    for line in try String(contentsOfFile: "\(run)/metrics.jsonl", encoding: .utf8).split(separator: "\n") {
      #expect(try JSONSerialization.jsonObject(with: Data(line.utf8)) is [String: Any])
    }
  }

  @Test func tablesSayInfinite() throws {
    let evaluated = try bench.milm("evaluate", run, "--corpus", bench.corpus)
    #expect(evaluated.output.contains("perplexity  infinite\n"), "\(evaluated.transcript)")
    #expect(!evaluated.output.contains("inf\n") && !evaluated.output.contains("nan"))
    #expect(try bench.milm("report", run).status == 0)
  }

  @Test(arguments: ["generate", "evaluate"])
  func weightsThatAreNotFiniteAreRefused(command: String) throws {
    let folder = URL(filePath: "\(run)/checkpoints/last").resolvingSymlinksInPath().path
    let file = "\(folder)/model.safetensors"
    var bytes = Array(try Data(contentsOf: URL(filePath: file)))
    bytes.replaceSubrange((bytes.count - 4)..., with: withUnsafeBytes(of: Float.nan.bitPattern) { Array($0) })
    try AtomicFile.write(bytes, to: file)
    var state = try Checkpoint(directory: folder).state
    state.files["model.safetensors"] = try FileDigest(ofFile: file)
    try AtomicFile.write(state.encoded(), to: "\(folder)/state.json")
    let result = try start(
      [program("milm"), command, run] + (command == "evaluate" ? ["--corpus", bench.corpus] : []))
    #expect(result.status == 1 && result.output.isEmpty, "\(result.transcript)")
    #expect(result.errors.contains("expected finite weights, found others in "), "\(result.transcript)")
  }
}
