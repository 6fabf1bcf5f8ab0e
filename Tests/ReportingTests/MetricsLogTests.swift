import Foundation
import Platform
import Reporting
import TestSupport
import Testing

struct MetricsLogTests {
  let folder: TemporaryFolder
  let path: String

  init() throws {
    folder = try TemporaryFolder()
    path = folder.file("metrics.jsonl")
  }

  private func content() throws -> String {
    try String(contentsOfFile: path, encoding: .utf8)
  }

  private func objects() throws -> [[String: Any]] {
    try content().split(separator: "\n").map { line in
      try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] ?? [:]
    }
  }

  @Test func writesTheKeysOfTheContractInOrder() throws {
    let log = try MetricsLog(path: path, keepingThroughStep: nil)
    try log.append(metrics(step: 10, loss: 4.123456789123))
    let expected = """
      {"step":10,"tokens":40960,"epoch":0.25,"loss":4.12345679,"perplexity":61.7724078,"learningRate":0.001,\
      "gradientNorm":0.125,"tokensPerSecond":12345,"computeSeconds":0.5,"exchangeSeconds":0.25,\
      "exposedSeconds":0.0625,"encodeSeconds":0.5,"wireSeconds":0.25,"decodeSeconds":0.125,\
      "stalledSeconds":0,"checkpointSeconds":0.75,"evaluationSeconds":0,"rawBytes":4000,"wireBytes":1000,"codec":"int8","skippedSteps":1}

      """
    #expect(try content() == expected)
  }

  @Test func writesEvaluationsWithEveryDigit() throws {
    let log = try MetricsLog(path: path, keepingThroughStep: nil)
    try log.append(
      evaluation(step: 5, perplexity: 0.1 + 0.2, nll: 1e7 / 3, seconds: 1.5))
    let expected = """
      {"step":5,"split":"valid","perplexity":0.30000000000000004,"nll":3333333.3333333335,\
      "tokens":99,"seconds":1.5}

      """
    #expect(try content() == expected)
  }

  /// A device has no end, and opening a pipe blocks.
  @Test(arguments: ["link", "pipe"])
  func refusesALogThatIsNotARegularFile(kind: String) throws {
    if kind == "link" {
      try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "/dev/zero")
    } else {
      try #require(mkfifo(path, 0o600) == 0)
    }
    let error = #expect(throws: MilmError.self) { try MetricsLog(path: path, keepingThroughStep: 5) }
    #expect(error?.description.hasPrefix("\(path): ") == true)
  }

  @Test(arguments: [0, 1e-30, 9.87654321e20, -0.5, 123_456_789, 4.00000001] as [Double])
  func keepsNineDigitsOfALoss(loss: Double) throws {
    let log = try MetricsLog(path: path, keepingThroughStep: nil)
    try log.append(metrics(step: 1, loss: loss))
    let read = try #require(try objects().first?["loss"] as? Double)
    #expect(abs(read - loss) <= abs(loss) * 5e-9)
  }

  @Test(arguments: [Double.nan, Double.infinity, -Double.infinity] as [Double])
  func writesNullForNumbersThatAreNotFinite(loss: Double) throws {
    let log = try MetricsLog(path: path, keepingThroughStep: nil)
    try log.append(metrics(step: 1, loss: loss))
    #expect(try content().contains(#""loss":null,"perplexity":"#))
    #expect(try objects().first?["loss"] is NSNull)
  }

  @Test func escapesTexts() throws {
    let log = try MetricsLog(path: path, keepingThroughStep: nil)
    var odd = metrics(step: 1)
    let codec = "a\"b\\c\nd"
    odd["codec"] = .text(codec)
    try log.append(odd)
    #expect(try objects().first?["codec"] as? String == codec)
  }

  @Test func resumesAfterTheStepOfTheCheckpoint() throws {
    let first = try MetricsLog(path: path, keepingThroughStep: nil)
    for step in [10, 20, 30] { try first.append(metrics(step: step)) }
    for step in [20, 30] { try first.append(evaluation(step: step, perplexity: 9)) }
    let kept = try content().split(separator: "\n", omittingEmptySubsequences: false)

    let second = try MetricsLog(path: path, keepingThroughStep: 20)
    #expect(try content() == [kept[0], kept[1], kept[3], ""].joined(separator: "\n"))
    try second.append(metrics(step: 21))
    #expect(try objects().map { $0["step"] as? Int } == [10, 20, 20, 21])

    _ = try MetricsLog(path: path, keepingThroughStep: 21, evaluationsBeforeStep: 20)
    #expect(try objects().map { $0["step"] as? Int } == [10, 20, 21])
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["metrics.jsonl"])
  }

  @Test func removesAnIncompleteLastLine() throws {
    let whole = #"{"step":1,"loss":2}"# + "\n"
    for torn in [#"{"step":2,"lo"#, #"{"step":2}"#, "{", "\0\0\0\0"] {
      try (whole + torn).write(toFile: path, atomically: false, encoding: .utf8)
      let log = try MetricsLog(path: path, keepingThroughStep: 5)
      #expect(try content() == whole)
      try log.append(metrics(step: 3))
      #expect(try objects().count == 2)
    }
  }

  @Test func aNewRunRemovesExistingLines() throws {
    try MetricsLog(path: path, keepingThroughStep: nil).append(metrics(step: 1))
    _ = try MetricsLog(path: path, keepingThroughStep: nil)
    #expect(try content() == "")
    #expect(try MetricsLog(path: folder.file("new"), keepingThroughStep: 3).append(metrics(step: 4)) == ())
  }

  @Test(.timeLimit(.minutes(5))) func aLineThatDoesNotFitLeavesNoPart() async throws {
    await #expect(processExitsWith: .success) { [path = path as String] in
      let log = try MetricsLog(path: path, keepingThroughStep: nil)
      try log.append(metrics(step: 1))
      // Room for two lines and a half.
      let byteCount = rlim_t(try Data(contentsOf: URL(filePath: path)).count) * 5 / 2
      var limit = rlimit(rlim_cur: byteCount, rlim_max: byteCount)
      try #require(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
      signal(SIGXFSZ, SIG_IGN)
      try log.append(metrics(step: 2))
      for _ in 1...2 {
        #expect(throws: MilmError.self) { try log.append(metrics(step: 3)) }
      }
    }
    #expect(try objects().map { $0["step"] as? Int } == [1, 2])
    #expect(try content().hasSuffix("\n"))
  }

  @Test func aMissingDirectoryIsOneLineOfError() throws {
    let error = try #require(throws: MilmError.self) {
      try MetricsLog(path: folder.file("no/such/folder"), keepingThroughStep: nil)
    }
    #expect(error.description.contains("cannot create: No such file or directory"))
    #expect(!error.description.contains("\n"))
  }

  @Test func linesOfManyThreadsStayWhole() throws {
    let log = try MetricsLog(path: path, keepingThroughStep: nil)
    DispatchQueue.concurrentPerform(iterations: 200) { step in
      do { try log.append(metrics(step: step)) } catch { Issue.record(error) }
    }
    #expect(try Set(objects().compactMap { $0["step"] as? Int }) == Set(0..<200))
  }
}
