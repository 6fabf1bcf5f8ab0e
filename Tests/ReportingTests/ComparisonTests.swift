import Foundation
import Platform
import Reporting
import TestSupport
import Testing

struct ComparisonTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func files(_ name: String) throws -> RunFiles {
    try makeDirectories(folder.file(name))
    func path(_ file: String) -> String { folder.file("\(name)/\(file)") }
    return RunFiles(
      metrics: path("metrics.jsonl"), sessions: path("sessions.jsonl"), events: path("tensorboard"),
      page: path("report.html"), evaluations: path("evaluations.jsonl"))
  }

  /// A run of some steps whose validation perplexity falls to `best` at its last step; 4096 tokens per step.
  private func run(
    _ name: String, variant: String = "lstm", seed: Int = 1, rate: String = "0.001", best: Double,
    test: Double? = nil, steps: Int = 40, vocabulary: String = "v"
  ) throws -> ComparedRun {
    let files = try files(name)
    let record = try RunRecord(files, title: name, configuration: "", keepingThroughStep: nil)
    try record.begin(
      RunSession(
        .begun, step: 0, tokens: 0, lastStep: steps, version: "1", ranks: 1, hosts: 1, engine: "",
        model: variant,
        parameters: 1_234_567, vocabulary: 9))
    for step in 1...steps { try record.append(metrics(step: step, loss: 5 - Double(step) / 100)) }
    for step in stride(from: 10, through: steps, by: 10) {
      try record.append(evaluation(step: step, perplexity: best + Double(steps - step)))
    }
    if let test {
      // The evaluation of another checkpoint, and of another split, do not stand for the run.
      for (step, split, perplexity) in [(10, "test", 1.0), (steps, "test", test), (steps, "valid", 2)] {
        try files.append(
          evaluation: MetricsLine(
            .evaluation,
            ["step": .integer(step), "split": .text(split), "perplexity": .number(perplexity)]))
      }
    }
    return try ComparedRun(
      name: name, path: folder.file(name), variant: variant, seed: "\(seed)",
      settings: [
        .init(key: "model.variant", value: variant), .init(key: "model.hidden", value: "16"),
        .init(key: "optimizer.learningRate", value: rate),
      ], vocabulary: vocabulary, files: files)
  }

  private func comparison() throws -> Comparison {
    Comparison([
      try run("slow", best: 130),
      try run("a1", variant: "multdec", seed: 1, rate: "0.01", best: 100, test: 101),
      try run("a2", variant: "multdec", seed: 2, rate: "0.01", best: 104, test: 103),
      try run("a3", variant: "multdec", seed: 3, rate: "0.01", best: 108),
    ])
  }

  @Test func runsThatDifferInTheirSeedAreAveraged() throws {
    let comparison = try comparison()
    #expect(comparison.changedKeys == ["optimizer.learningRate"], "every row has the variant")
    let row = try #require(comparison.rows.first)
    #expect(comparison.rows.map(\.name) == ["variant=multdec,learningRate=0.01 (3 seeds)", "slow"])
    #expect(row.seeds == ["1", "2", "3"] && row.parameters == 1_234_567 && row.step == 40)
    // Deviations −4, 0 and 4: the sample's variance is 16, that of the mean 16 / 3.
    let valid = try #require(row.bestValid)
    let validError = try #require(valid.error)
    #expect(valid.mean == 104 && abs(validError - 4 / 3.0.squareRoot()) < 1e-12)
    #expect(row.test == Estimate([101, 103]), "of those that were evaluated")
    #expect(row.test?.error == 1)
    let speed = try #require(row.tokensPerSecond)
    #expect(abs(speed.mean - 12_345) < 1e-6)
    #expect(comparison.rows[1].bestValid == Estimate([130]) && comparison.rows[1].bestValid?.error == nil)
    #expect(comparison.caveats.isEmpty)
    #expect(abs(row.hours - 40 * 4096 / 12_345.0 / 3600) < 1e-9)
  }

  @Test func theTableIsForPeopleSpreadsheetsAndPrograms() throws {
    let comparison = try comparison()
    #expect(
      comparison.table.header
        == ["run", "variant", "parameters", "learningRate", "best valid", "test", "tokens/s", "step"])
    #expect(
      comparison.table.rows == [
        [
          "variant=multdec,learningRate=0.01 (3 seeds)", "multdec", "1,234,567", "0.01", "104.00 ± 2.31",
          "102.00 ± 1.00", "12.3k", "40",
        ], ["slow", "lstm", "1,234,567", "0.001", "130.00", "", "12.3k", "40"],
      ])
    let lines = comparison.csv.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(
      lines[0]
        == "run,runs,variant,parameters,optimizer.learningRate,bestValid,bestValidError,test,testError,"
        + "tokensPerSecond,step,hours")
    #expect(
      lines[1].hasPrefix(
        "\"variant=multdec,learningRate=0.01 (3 seeds)\",3,multdec,1234567,0.01,104.0,2.309401"))
    #expect(lines[2].hasPrefix("slow,1,lstm,1234567,0.001,130.0,,,,") && lines.last == "")
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(jsonLine(comparison).utf8)) as? [String: Any])
    let rows = try #require(object["runs"] as? [[String: Any]])
    #expect(rows[0]["bestValid"] as? Double == 104 && rows[0]["test"] as? Double == 102)
    #expect(rows[0]["seeds"] as? [String] == ["1", "2", "3"] && rows[0]["bestStep"] is NSNull)
    #expect(
      rows[0]["changed"] as? [String: String]
        == ["model.variant": "multdec", "optimizer.learningRate": "0.01"])
    #expect(rows[1]["testError"] is NSNull && rows[1]["bestStep"] as? Int == 40)
  }

  @Test func whatIsNotComparableIsSaid() throws {
    let comparison = Comparison([
      try run("a", seed: 1, best: 100), try run("b", seed: 2, best: 90, steps: 20),
      try run("c", seed: 1, best: 80, vocabulary: "other"), try run("d", seed: 1, best: 70),
    ])
    // A seed counts once in a mean, and another vocabulary is another experiment.
    #expect(comparison.rows.map(\.seeds) == [["1"], ["1"], ["1", "2"]])
    #expect(comparison.caveats.count == 2)
    #expect(comparison.caveats[0].contains("c has another vocabulary"))
    #expect(comparison.caveats[1] == "the runs averaged with a are at steps 20 to 40")
  }

  @Test func thePageHasOneTableAndSixCharts() throws {
    var runs = [try run("slow <&>", best: 130)]
    for index in 0..<13 {
      runs.append(try run("r\(index)", seed: index % 2, rate: "\(index / 2)", best: 100 + Double(index)))
    }
    let path = folder.file("comparison.html")
    try Comparison(runs).writePage(to: path)
    let page = try String(contentsOfFile: path, encoding: .utf8)
    #expect(page.contains("Comparison of 14 runs") && page.contains("slow &lt;&amp;&gt;"))
    for title in ["Validation perplexity", "Training perplexity"] {
      for over in ["over steps", "over tokens", "over seconds"] {
        #expect(page.contains("\(title) <small>\(over), logarithmic"), "\(title) \(over)")
      }
    }
    #expect(page.contains("class=\"band blue\""), "the standard error of two seeds")
    #expect(page.contains("learningRate=0 (2 seeds)") && page.contains("class=\"line blue dashed\""))
    for forbidden in ["http", "<script", "src=", "href=", "url(", "NaN", "nan", ">inf"] {
      #expect(!page.contains(forbidden), "\(forbidden)")
    }
  }

  @Test(arguments: [Double.nan, .infinity, 0, 1e300]) func anyPerplexityIsDrawn(best: Double) throws {
    let path = folder.file("comparison.html")
    let comparison = Comparison([try run("a", best: best), try run("b", seed: 2, best: best, steps: 1)])
    try comparison.writePage(to: path)
    #expect(!comparison.csv.contains("nan") && !comparison.csv.contains("inf"))
    #expect(try String(contentsOfFile: path, encoding: .utf8).contains("Training perplexity"))
  }

  @Test func aRunWithoutLinesIsRefused() throws {
    let files = try files("empty")
    #expect(throws: MilmError.self) {
      try ComparedRun(
        name: "e", path: "e", variant: "", seed: "", settings: [], vocabulary: "", files: files)
    }
  }
}

struct MetricsFollowerTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test func newLinesAreReadOnce() throws {
    let path = folder.file("metrics.jsonl")
    var follower = MetricsFollower(path)
    #expect(try follower.newLines().isEmpty)
    let log = try MetricsLog(path: path, keepingThroughStep: nil)
    try log.append(metrics(step: 1))
    try log.append(evaluation(step: 1, perplexity: 9))
    #expect(try follower.newLines().map { $0.split ?? "training" } == ["training", "valid"])
    #expect(try follower.newLines().isEmpty)
    // A line that is being written is read once it is whole.
    let file = try OpenFile.appending(path)
    try file.append(Array("{\"step\":2,".utf8))
    #expect(try follower.newLines().isEmpty)
    try file.append(Array("\"loss\":1}\nrubbish\n".utf8))
    #expect(try follower.newLines().map(\.step) == [2])
    // A run that resumes replaces the file.
    let resumed = try MetricsLog(path: path, keepingThroughStep: 1)
    try resumed.append(metrics(step: 2))
    #expect(try follower.newLines().map(\.step) == [1, 1, 2])
  }
}
