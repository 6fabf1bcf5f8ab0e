import Evaluation
import Foundation
import LanguageModel
import Platform
import TestSupport
import Testing

@Suite struct LineEvaluationTests {
  private let bench: EvaluationBench
  private let words: [Substring]

  init() throws {
    bench = try EvaluationBench()
    words = try String(contentsOfFile: "\(bench.corpus)/vocabulary.txt", encoding: .utf8)
      .split(separator: "\n")
  }

  /// Lines of 0 to `longest` words, one of them unknown, with `<eos>` as a word and with blanks of many kinds.
  private func lines(_ count: Int, longest: Int) -> [String] {
    (0..<count).map { line in
      let length = line * 7 % (longest + 1)
      let text = (0..<length).map { String(words[(line * 31 + $0 * 17) % words.count]) }
      let separator = line % 3 == 0 ? "\t " : " "
      return text.joined(separator: separator) + (line % 5 == 0 ? " unheard-of" : "")
        + (line % 4 == 0 ? "\r" : "")
    }
  }

  private func file(_ text: String, _ name: String = "lines.txt") throws -> String {
    try bench.folder.write(text, to: name).path
  }

  /// Also for lines longer than a block, and without a newline at the end.
  @Test(arguments: [(1, 9), (3, 150), (100, 40), (131, 9)])
  func everyLineHasTheScoreItHasAlone(count: Int, longest: Int) throws {
    let lines = lines(count, longest: longest)
    let path = try file(lines.joined(separator: "\n"))
    let scores = try bench.scores(ofLinesIn: path)
    #expect(scores.map(\.line) == Array(1...lines.count))
    for (index, line) in lines.enumerated() where index % 9 == 0 || count < 9 {
      let alone = try bench.evaluate(text: .file(try file("\(line)\n", "one.txt")))
      let found = scores[index]
      #expect(abs(found.nll - alone.nll) <= 1e-6 * alone.nll, "line \(index + 1)")
      #expect(found.tokens == alone.tokens && found.unknownTokens == alone.unknownTokens)
    }
    for rankCount in [2, 3] {
      let distributed = try bench.scores(ofLinesIn: path, rankCount: rankCount)
      #expect(distributed == scores, "\(rankCount) ranks")
    }
  }

  /// log p(line | context) = log p(context, line) − log p(context).
  @Test(arguments: [3, 100]) func aContextPrecedesEveryLine(length: Int) throws {
    let context = (0..<length).map { String(words[($0 * 5 + 2) % words.count]) }.joined(separator: " ")
    let lines = lines(6, longest: 12)
    let scores = try bench.scores(
      ofLinesIn: try file(lines.joined(separator: "\n") + "\n"), context: context)
    let before = try bench.evaluate(text: .file(try file("\(context)\n", "one.txt")))
    for (score, line) in zip(scores, lines) {
      let both = try bench.evaluate(text: .file(try file("\(context)\n\(line)\n", "one.txt")))
      #expect(abs(score.nll - (both.nll - before.nll)) <= 1e-6 * both.nll)
      #expect(score.tokens == both.tokens - before.tokens)
    }
  }

  @Test func anEmptyFileHasNoRows() throws {
    #expect(try bench.scores(ofLinesIn: try file("")) == [])
    #expect(try bench.scores(ofLinesIn: try file("\n\n")).map(\.tokens) == [1, 1])
  }

  /// The rows of the lines before it are written.
  @Test(arguments: [
    (Array("a b\nc\n".utf8) + [0x61, 0xFF, 0x0A], "UTF-8", "line 3, byte 7"),
    (Array("a b\n".utf8) + [0x61, 0x00, 0x62], "text", "line 2, byte 5"),
  ])
  func whatIsNotTextIsAnErrorWithTheLinesNumber(bytes: [UInt8], expected: String, place: String) throws {
    let path = try bench.folder.write(bytes, to: "wrong.txt").path
    for rankCount in [1, 2] {
      let error = #expect(throws: MilmError.self) {
        try bench.scores(ofLinesIn: path, rankCount: rankCount)
      }
      let text = "\(String(describing: error))"
      #expect(text.contains("expected \(expected) in \(path), found"), "\(text)")
      #expect(text.contains("in \(place)"), "\(text)")
    }
  }
}
