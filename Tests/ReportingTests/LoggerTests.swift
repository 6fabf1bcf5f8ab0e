import Logging
import Reporting
import Testing

struct LoggerTests {
  let recorder = Recorder()

  private func logger(rank: Int = 0, level: Logger.Level = .info, isTerminal: Bool = false) -> Logger {
    makeLogger(rank: rank, level: level, output: recorder.output(isTerminal: isTerminal))
  }

  @Test func writesTimeLevelMessageAndMetadata() throws {
    logger().warning("the exchange is slow", metadata: ["seconds": "12.5", "peer": "node 7", "none": ""])
    let line = try #require(recorder.written.first)
    let pattern = /\d\d:\d\d:\d\d warning: the exchange is slow none="" peer="node 7" seconds=12\.5\n/
    #expect(try pattern.wholeMatch(in: line) != nil, "\(line)")
    #expect(recorder.written.count == 1)
  }

  @Test(arguments: [0, 3]) func namesTheRankExceptRankZero(rank: Int) {
    logger(rank: rank).info("hello")
    #expect(
      recorder.written.first?.hasSuffix(rank == 0 ? " info: hello\n" : " info: rank 3: hello\n") == true)
  }

  @Test func keepsAnEventOnOneLine() {
    logger().error("a\nb\r\u{1B}[2J", metadata: ["x": "c\nd\"e"])
    #expect(recorder.written.first?.hasSuffix(#"error: a\nb\r\x1b[2J x="c\nd\"e""# + "\n") == true)
  }

  @Test func omitsEventsBelowItsLevel() {
    logger(level: .warning).info("hello")
    #expect(recorder.written.isEmpty)
  }

  @Test func mergesMetadataAndPrefersThatOfTheEvent() {
    var logger = logger()
    logger[metadataKey: "run"] = "a"
    logger[metadataKey: "step"] = "1"
    logger.info("hello", metadata: ["step": "2"])
    #expect(recorder.written.first?.hasSuffix("hello run=a step=2\n") == true)
  }

  @Test func clearsARedrawnLine() {
    logger(isTerminal: true).info("hello")
    #expect(recorder.written.first?.hasPrefix("\r\u{1B}[K") == true)
  }
}
