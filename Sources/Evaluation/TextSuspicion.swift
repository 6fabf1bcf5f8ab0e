import Corpus
import Foundation

/// Signs that a text file is not like the text that a model was trained on.
package struct TextSuspicion: Sendable {
  /// The fraction of `<unk>` is suspicious from twice that of the corpus and this much more.
  private static let unknownMargin = 0.05

  private let unknownFraction: Double
  private let corpusFraction: Double?
  private let isTokenized: Bool

  /// The signs in an encoded text; `corpus` describes the model's corpus where it is known, and `isTokenized` says whether
  /// `prepare` has tokenized it.
  package init(_ text: EncodedText, isTokenized: Bool, corpus: CorpusDescription?) {
    unknownFraction = Double(text.unknownTokenCount) / Double(max(1, text.tokens.count))
    self.isTokenized = isTokenized
    corpusFraction = corpus.flatMap { corpus in
      // Held-out text has more unknown tokens than the training text that the vocabulary is from.
      Split.allCases.compactMap { corpus.counts(of: $0) }
        .map { Double($0.unknownTokens) / Double(max(1, $0.tokens)) }.max()
    }
  }

  /// A line for each sign, with what to do.
  package var warnings: [String] {
    var lines: [String] = []
    if !isTokenized {
      lines.append(
        "the corpus was not tokenized by milm, so the text is only split at white space: expected a text that is "
          + "tokenized like the corpus; for raw text train on a corpus of milm prepare --tokenize")
    }
    if unknownFraction > 2 * (corpusFraction ?? 0) + Self.unknownMargin {
      let corpus =
        corpusFraction.map { "\(percent($0)) in the corpus" } ?? "unknown in the corpus without --corpus"
      lines.append(
        "\(percent(unknownFraction)) of the text's tokens are <unk>, \(corpus), so the perplexity says little: expected "
          + (isTokenized
            ? "a text of the corpus's language and kind" : "a text that is tokenized like the corpus"))
    }
    return lines
  }

  private func percent(_ fraction: Double) -> String { String(format: "%.1f %%", 100 * fraction) }
}
