import Foundation
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct CommandTests {
  @Test func theVersionIsPrinted() throws {
    let run = try start([program("milm"), "--version"])
    #expect(run.status == 0 && run.output.contains("."))
  }

  @Test(arguments: [
    ["nonsense"], ["prepare"], ["train"], ["train", "a.yaml"], ["evaluate", "run"],
    ["train", "--single-node-test", "--dry-run"], ["generate", "run", "--top-p", "2"],
    ["evaluate", "run", "--corpus", "c", "--split", "middle"], ["generate", "run", "--top-p", "nan"],
    ["prepare", "--output", "c", "--generate", "5"], ["generate", "run", "--tokens", "0"],
    ["generate", "run", "--temperature", "-1"], ["generate", "run", "--temperature", "inf"],
    ["generate", "run", "--top-k", "-1"], ["generate", "run", "--top-p", "0"],
    ["generate", "run", "--seed", "-1"],
  ])
  func wrongUsageHasStatus64(arguments: [String]) throws {
    #expect(try start([program("milm")] + arguments).status == 64)
  }

  @Test func wrongUsageUnderMPIIsPrintedOnce() throws {
    let run = try mpirun(3, [program("milm"), "train", "a.yaml"])
    #expect(run.status == 64)
    #expect(run.errors.components(separatedBy: "expected --corpus").count == 2, "\(run.transcript)")
  }

  @Test(arguments: [
    ("lstm", 88_214_999), ("multdec", 105_065_975), ("multencdec", 110_016_319), ("txl", 151_106_305),
    ("txl-multdec", 156_680_287), ("txl-mi", 153_795_905),
  ])
  func inspectCountsThePapersModels(variant: String, expected: Int) throws {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let path = root.appendingPathComponent("configs/wikitext103-\(variant).yaml").path
    let result = try object(try start([program("milm"), "inspect", path, "--json"]))
    #expect(result["parameters"] as? Int == expected)
    #expect((result["assumptions"] as? [String])?.first?.contains("vocabulary of 267735 tokens") == true)
    let tensors = try #require(result["tensors"] as? [[String: Any]])
    #expect(tensors.reduce(0) { $0 + ($1["parameters"] as? Int ?? 0) } == expected)
  }

  @Test func prepareBuildsACorpusThatInspectVerifies() throws {
    let folder = try TemporaryFolder()
    let train = try folder.write("a b a\n\nc a\n", to: "train.txt").path
    let test = try folder.write("a d", to: "test.txt").path
    let corpus = folder.file("corpus")
    let prepared = try start([
      program("milm"), "prepare", "--train", train, "--test", test, "--output", corpus, "--json",
    ])
    #expect(try object(prepared)["vocabularySize"] as? Int == 5)
    let inspected = try start([program("milm"), "inspect", corpus])
    #expect(inspected.output.contains("8 tokens, 3 lines"))
    #expect(inspected.output.contains("3 tokens, 1 lines, 1 <unk>"))
  }

  @Test(arguments: [
    ("missing", "no-such.txt"), ("not UTF-8", "UTF-8"), ("empty", "found none"),
  ])
  func prepareRefusesInOneLineAndLeavesNothing(mistake: String, expected: String) throws {
    let folder = try TemporaryFolder()
    let train = folder.file(mistake == "missing" ? "no-such.txt" : "train.txt")
    if mistake == "not UTF-8" { try Data([0x61, 0xFF, 0x0A]).write(to: URL(filePath: train)) }
    if mistake == "empty" { try folder.write("", to: "train.txt") }
    let run = try start([program("milm"), "prepare", "--train", train, "--output", folder.file("new/corpus")])
    #expect(run.status == 1)
    #expect(errorLines(run).count == 1 && run.errors.contains(expected), "\(run.transcript)")
    let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
    #expect(left.allSatisfy { $0 == "train.txt" }, "\(left)")
  }

  @Test(arguments: [
    ("truncated tokens", "train.tokens"), ("flipped tokens", "train.tokens"),
    ("other vocabulary", "vocabulary"), ("flipped checkpoint", "model.safetensors"),
    ("no checkpoint", "expected a checkpoint"),
    ("text that is not UTF-8", "UTF-8"), ("no such text", "letter.txt"),
  ])
  func evaluateRefusesInOneLine(mistake: String, expected: String) throws {
    let bench = try CommandBench()
    let run = try bench.train()
    var arguments = ["evaluate", run, "--corpus", bench.corpus]
    switch mistake {
    case "truncated tokens": try corrupt("\(bench.corpus)/train.tokens") { $0.removeLast(3) }
    case "flipped tokens": try corrupt("\(bench.corpus)/train.tokens") { $0[200] ^= 1 }
    case "flipped checkpoint": try corrupt("\(run)/checkpoints/best/model.safetensors") { $0[3000] ^= 1 }
    case "no checkpoint": arguments[1] = bench.folder.path
    case "other vocabulary":
      arguments[3] = bench.folder.file("other")
      _ = try bench.milm("prepare", "--generate", "4000", "--seed", "2", "--output", arguments[3])
    default:
      let text = bench.folder.file("letter.txt")
      if mistake != "no such text" { try Data([0xC3, 0x28]).write(to: URL(filePath: text)) }
      arguments = ["evaluate", run, "--text", text]
    }
    let result = try start([program("milm")] + arguments)
    #expect(result.status == 1)
    #expect(errorLines(result).count == 1 && result.errors.contains(expected), "\(result.transcript)")
  }

  private func corrupt(_ path: String, _ change: (inout Data) -> Void) throws {
    let url = URL(filePath: path).resolvingSymlinksInPath()
    var data = try Data(contentsOf: url)
    change(&data)
    try data.write(to: url)
  }

  /// What `milm` said went wrong, without the progress that came before.
  private func errorLines(_ run: ProgramRun) -> [Substring] {
    run.errors.split(separator: "\n").filter { !$0.hasPrefix("stage=") }
  }
}
