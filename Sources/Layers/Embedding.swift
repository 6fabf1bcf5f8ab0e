import Tensors

/// Rows of a V × E table looked up by word: the input side of the matrix that the softmax shares.
public struct Embedding: Sendable {
  /// V × E.
  public let weight: Parameter

  /// Declares `embedding.weight`, uniform with variance 1 / E: logits of the tied softmax start near zero.
  public init(vocabularySize: Int, width: Int, in list: inout ParameterList) {
    weight = list.add(
      "embedding.weight", shape: [vocabularySize, width],
      initialization: .uniform(limit: (1 / Float(width)).squareRoot()), decays: false, elementsPerToken: width
    )
  }

  /// `output[i] = weight[words[i]]`.
  public func forward(_ words: Vector<Int32>, weights: Weights, into output: Matrix) {
    precondition(words.count == output.rowCount, "a row for each word")
    let table = weights[weight]
    for index in 0..<words.count {
      output.row(index).update(from: table.row(Int(words[index])), count: output.columnCount)
    }
  }
}

/// The gradient of looked-up rows: one row for each distinct word, words ascending.
///
/// It is kept apart from the dense gradient of the same matrix, because only the rows of words that occurred
/// are touched and because it is finished last, when the dense part has long been on its way.
public final class EmbeddingRowGradient: Sendable {
  /// How many distinct words there can be.
  public let capacity: Int
  private let arena: Arena
  private let words: Vector<Int32>
  private let rows: Matrix
  /// By token: its first place + 1; 0 where it does not occur.
  private let firstPlace: Vector<Int32>
  /// By place: the next place of the same token + 1; 0 at the last.
  private let nextPlace: Vector<Int32>

  /// Memory for the gradients of `capacity` looked-up words.
  public init(vocabularySize: Int, width: Int, capacity: Int, in arena: Arena = Arena()) {
    self.capacity = capacity
    self.arena = arena
    words = arena.vector(of: Int32.self, count: capacity)
    rows = arena.matrix(rowCount: capacity, columnCount: width)
    nextPlace = arena.vector(of: Int32.self, count: capacity)
    firstPlace = arena.vector(of: Int32.self, count: vocabularySize)
  }

  /// The distinct words of `looked` with the sums of their gradient rows, added in the order of their places.
  ///
  /// The views stay valid until the next call.
  public func collect(
    _ looked: Vector<Int32>, gradient: Matrix
  ) -> (words: Vector<Int32>, rows: Matrix) {
    precondition(
      looked.count == gradient.rowCount && looked.count <= capacity, "a gradient row for each word")
    for place in (0..<looked.count).reversed() {
      let word = Int(looked[place])
      nextPlace[place] = firstPlace[word]
      firstPlace[word] = Int32(place + 1)
    }
    var count = 0
    for word in 0..<firstPlace.count where firstPlace[word] > 0 {
      sumChain(startingAt: Int(firstPlace[word]) - 1, of: gradient, into: rows.row(count))
      words[count] = Int32(word)
      firstPlace[word] = 0
      count += 1
    }
    return (words[0..<count], rows.rows(0..<count))
  }

  private func sumChain(startingAt first: Int, of gradient: Matrix, into sum: UnsafeMutablePointer<Float>) {
    let width = gradient.columnCount
    sum.update(from: gradient.row(first), count: width)
    var place = Int(nextPlace[first]) - 1
    while place >= 0 {
      let row = gradient.row(place)
      for column in 0..<width { sum[column] += row[column] }
      place = Int(nextPlace[place]) - 1
    }
  }
}
