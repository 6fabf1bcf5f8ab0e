import Foundation
import TestSupport
import Testing

/// `milm generate` as users type it.
@Suite(.timeLimit(.minutes(5))) struct GenerateTests {
  private let bench: CommandBench
  private let run: String

  init() throws {
    bench = try CommandBench()
    run = try bench.train()
  }

  private func words(_ options: String...) throws -> [String] {
    let result = try start([program("milm"), "generate", run] + options)
    try #require(result.status == 0, "\(result.transcript)")
    // The last newline is the command's own; every other ends a sentence.
    return result.output.dropLast().replacingOccurrences(of: "\n", with: " <eos> ").split(separator: " ")
      .map(String.init)
  }

  @Test func drawsAsManyTokensAsAskedAndNeverTheUnknownWord() throws {
    for count in [1, 7, 300] {
      let drawn = try words("--tokens", "\(count)")
      #expect(drawn.count == count && !drawn.contains("<unk>"))
    }
  }

  @Test func aSeedIsAText() throws {
    let text = try words("--seed", "5", "--tokens", "60")
    #expect(try words("--seed", "5", "--tokens", "60") == text)
    #expect(try words("--seed", "6", "--tokens", "60") != text)
  }

  @Test func theTextBeginsWithThePromptAndDependsOnIt() throws {
    let vocabulary = try String(contentsOfFile: "\(bench.corpus)/vocabulary.txt", encoding: .utf8)
      .split(separator: "\n").map(String.init).filter { !$0.hasPrefix("<") }
    let prompts = [vocabulary[0...2], vocabulary[20...22]].map { $0.joined(separator: " ") }
    // Cold, because a model that has hardly learnt predicts nearly the same after anything.
    let texts = try prompts.map { try words("--prompt", $0, "--tokens", "40", "--temperature", "0.02") }
    for (prompt, text) in zip(prompts, texts) {
      #expect(text.count == 43 && text.prefix(3).joined(separator: " ") == prompt)
    }
    #expect(texts[0].dropFirst(3) != texts[1].dropFirst(3))
    #expect(try words("--prompt", "never heard", "--tokens", "1").prefix(2) == ["<unk>", "<unk>"])
  }

  @Test func withoutChoiceItTakesTheLikeliestWord() throws {
    let likeliest = try words("--temperature", "0", "--tokens", "30")
    #expect(try words("--top-k", "1", "--seed", "9", "--tokens", "30") == likeliest)
    #expect(try words("--top-p", "1e-9", "--seed", "8", "--tokens", "30") == likeliest)
    #expect(try words("--temperature", "1e-6", "--seed", "7", "--tokens", "30") == likeliest)
    #expect(try words("--tokens", "30") != likeliest)
  }

  @Test func narrowerSamplingDrawsFewerDifferentWords() throws {
    let all = Set(try words("--tokens", "400"))
    #expect(Set(try words("--tokens", "400", "--top-k", "2")).count < all.count / 2)
    #expect(Set(try words("--tokens", "400", "--top-p", "0.1")).count < all.count)
  }
}
