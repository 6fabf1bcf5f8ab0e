import CKernels

/// A finished table of words and what id each of them has in a vocabulary.
///
/// `@unchecked Sendable`: it never changes after it was made.
final class WordIndex: @unchecked Sendable {
  let words: WordTable
  let finalIDs: FinalIDs

  init(_ words: consuming WordTable, finalIDs: FinalIDs) {
    self.words = words
    self.finalIDs = finalIDs
  }

  /// The vocabulary's id of a word, if it has one.
  func id(of word: String) -> Int32? { words.id(of: word).map { finalIDs[Int($0)] } }
}

extension WordTable {
  /// The id of a word, if it was inserted before.
  func id(of word: String) -> Int32? {
    var word = word
    return word.withUTF8 { id(of: UnsafeRawBufferPointer($0)) }
  }
}

/// The ids of a vocabulary, by the ids of a table of words.
struct FinalIDs: Sendable {
  /// In front of the words stand what the table's marks for unknown words and line ends become.
  private static let firstWord = 2
  private let ids: [Int32]
  private let unknownID: Int32

  /// - Parameter ids: of each word of the table.
  init(_ ids: some Collection<Int32>, unknownID: Int32, endOfSentenceID: Int32) {
    precondition(CKernels_unknownID == -2 && CKernels_lineEndID == -1)
    self.ids = [unknownID, endOfSentenceID] + ids
    self.unknownID = unknownID
  }

  subscript(tableID: Int) -> Int32 { ids[tableID + Self.firstWord] }

  /// Puts the vocabulary's ids in the place of the table's; returns how many are `<unk>`.
  func replace(_ tokens: UnsafeMutableBufferPointer<Int32>) -> Int {
    var unknownCount = 0
    ids.withUnsafeBufferPointer { ids in
      for position in tokens.indices {
        let id = ids[Int(tokens[position]) &+ Self.firstWord]
        tokens[position] = id
        unknownCount &+= id == unknownID ? 1 : 0
      }
    }
    return unknownCount
  }
}
