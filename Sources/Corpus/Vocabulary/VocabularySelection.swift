import Platform

/// Which of the words of a training text become the vocabulary.
public struct VocabularySelection: Equatable, Sendable {
  /// The largest number of words, `<unk>` and `<eos>` included; nil for no limit.
  public var size: Int?
  /// How often a word must occur.
  public var minCount: Int

  /// Takes the `size` most frequent of the words that occur `minCount` times or more.
  public init(size: Int? = nil, minCount: Int = 1) {
    self.size = size
    self.minCount = minCount
  }

  /// Refuses what no text can satisfy.
  func validate() throws {
    if let size, size < 2 {
      throw MilmError("expected a vocabulary size of 2 or more (<unk> and <eos> count), found \(size)")
    }
    if minCount < 1 { throw MilmError("expected a minimum count of 1 or more, found \(minCount)") }
  }
}

extension Vocabulary {
  /// The vocabulary of a text of which only the counts are known.
  ///
  /// Words stand by falling count, ties by their bytes. `<unk>` and `<eos>` are always among them,
  /// ranked by how often they were counted, and take two places of the selection's size.
  ///
  /// - Parameter counts: words and how often each occurs; repeated words add up. `<eos>` occurs once a line.
  /// - Throws: `MilmError` for an impossible selection, or a word that is empty or holds white space.
  public init(
    counts: some Sequence<(String, Int)>, selection: VocabularySelection = .init()
  ) throws {
    var words = WordTable()
    for (word, count) in counts { try words.add(word, count: count) }
    let ranking = try WordRanking(&words, lineCount: 0, selection: selection)
    var selected: [String] = []
    for id in ranking.order { selected.append(String(decoding: words.bytes(of: Int(id)), as: UTF8.self)) }
    try self.init(words: selected)
  }
}
