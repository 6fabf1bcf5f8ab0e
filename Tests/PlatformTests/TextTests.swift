import Foundation
import Platform
import TestSupport
import Testing

struct TextTests {
  @Test(arguments: [
    ("plain words, ünïcode – 中文 🙂", "plain words, ünïcode – 中文 🙂"),
    ("a\nb\tc\rd", #"a\nb\tc\rd"#), ("\u{1B}[31mred\u{7}", #"\x1b[31mred\x07"#), ("\u{7F}", #"\x7f"#),
    ("\u{9B}2J", #"\x9b2J"#), ("a\u{202E}b\u{2066}c", #"a\u202eb\u2066c"#), ("\u{2028}", #"\u2028"#),
    ("e\u{301}\u{200D}", "e\u{301}\u{200D}"),
  ])
  func whatATerminalWouldObeyIsMadeVisible(text: String, shown: String) {
    #expect(visible(text) == shown)
  }

  @Test func linesKeepTheirBreaksAndTabs() {
    #expect(visibleLines("a\tb\n\u{1B}[1m\r\n") == "a\tb\n\\x1b[1m\\r\n")
  }

  @Test func aShellReadsBackEveryWord() throws {
    let words = [
      "", "plain", "a b", "it's", "\"q\"", "$HOME", "`x`", "a\\b", "*", "?", "[a]", "{a,b}", "~", "#", "!",
      "a;b|c&d", "(x)", "<y>", "a=b", "ünï 🙂", "line\nbreak", "tab\t'\\\u{1B}[2J", "\u{9B}x", "-n",
      "é\u{202E}",
    ]
    let run = try start(["bash", "-c", "printf '%s\\0' \(shellWords(words))"])
    #expect(
      run.output.split(separator: "\0", omittingEmptySubsequences: false).map(String.init) == words + [""])
    #expect(
      shellWords(["milm", "train", "a.yaml", "--set", "training.steps=5"])
        == "milm train a.yaml --set training.steps=5")
  }

  private struct Numbers: Encodable {
    struct Nested: Encodable {
      var values: [Double] = [1.5, .infinity, -.infinity, .nan]
      var missing: Float = .nan
    }
    var perplexity = Double.infinity
    var nested = ["a": Nested()]
    var text = "\"inf\" \u{1B}[31m \u{9B}31m \u{202E} NaN"
    var none: Double? = .nan
  }

  @Test func numbersWithoutAValueAreNull() throws {
    let line = try jsonLine(Numbers())
    let object = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    #expect(object["perplexity"] is NSNull && object["none"] is NSNull)
    let nested = try #require((object["nested"] as? [String: [String: Any]])?["a"])
    #expect(nested["missing"] is NSNull)
    #expect((nested["values"] as? [Any])?.map { $0 as? Double } == [1.5, nil, nil, nil])
    #expect(object["text"] as? String == Numbers().text)
    #expect(line == visible(line))
  }

  @Test func linesOfAFileAreReadInTurn() throws {
    let folder = try TemporaryFolder()
    let long = String(repeating: "x", count: 100)
    let path = try folder.write("a\n\n\(long)\nbcdefgh\nlast", to: "lines").path
    for limit in [8, 9, 16, 64] {
      var lines: [String] = []
      try OpenFile.reading(path).forEachLine(limit: limit) {
        lines.append(String(decoding: $0, as: UTF8.self) + ($1 ? "" : "…"))
      }
      #expect(lines == ["a", "", "bcdefgh", "last…"], "\(limit)")
    }
  }
}
