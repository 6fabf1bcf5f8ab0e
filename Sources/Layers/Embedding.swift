import Tensors

/// Rows of a V × E table looked up by token: the input side of the tied matrix.
package struct Embedding: Sendable {
  /// V × E.
  package let weight: Parameter

  /// Declares `embedding.weight`, by default uniform with variance 1 / E: logits of the tied softmax start near zero.
  package init(
    vocabularySize: Int, width: Int, initialization: Parameter.Initialization? = nil,
    in list: inout ParameterList
  ) {
    weight = list.add(
      "embedding.weight", shape: [vocabularySize, width],
      initialization: initialization ?? .uniform(limit: (1 / Float(width)).squareRoot()), decays: false,
      elementsPerToken: width)
  }

  /// `output[i] = weight[tokens[i]]`.
  package func forward(_ tokens: Vector<Int32>, weights: Weights, into output: Matrix) {
    precondition(tokens.count == output.rowCount, "a row for each token")
    let table = weights[weight]
    for index in 0..<tokens.count {
      output.row(index).update(from: table.row(Int(tokens[index])), count: output.columnCount)
    }
  }
}

/// The gradient of looked-up rows: one row for each distinct token, tokens ascending.
///
/// It is separate from the dense gradient of the same matrix, because it touches only the rows of tokens that occurred, and
/// because it is finished last, when the exchange of the dense part is under way.
package final class EmbeddingRowGradient: Sendable {
  /// The maximum number of distinct tokens.
  package let capacity: Int
  private let arena: Arena
  private let tokens: Vector<Int32>
  private let rows: Matrix
  /// By token: its first place + 1; 0 where it does not occur.
  private let firstPlace: Vector<Int32>
  /// By place: the next place of the same token + 1; 0 at the last.
  private let nextPlace: Vector<Int32>

  /// Memory for the gradients of `capacity` looked-up tokens.
  package init(vocabularySize: Int, width: Int, capacity: Int, in arena: Arena = Arena()) {
    self.capacity = capacity
    self.arena = arena
    tokens = arena.vector(of: Int32.self, count: capacity)
    rows = arena.matrix(rowCount: capacity, columnCount: width)
    nextPlace = arena.vector(of: Int32.self, count: capacity)
    firstPlace = arena.vector(of: Int32.self, count: vocabularySize)
  }

  /// The distinct tokens of `lookups` with the sums of their gradient rows, added in the order of their places.
  ///
  /// The views stay valid until the next call.
  package func collect(
    _ lookups: Vector<Int32>, gradient: Matrix
  ) -> (tokens: Vector<Int32>, rows: Matrix) {
    precondition(
      lookups.count == gradient.rowCount && lookups.count <= capacity, "a gradient row for each token")
    for place in (0..<lookups.count).reversed() {
      let token = Int(lookups[place])
      nextPlace[place] = firstPlace[token]
      firstPlace[token] = Int32(place + 1)
    }
    var count = 0
    for token in 0..<firstPlace.count where firstPlace[token] > 0 {
      sumChain(startingAt: Int(firstPlace[token]) - 1, of: gradient, into: rows.row(count))
      tokens[count] = Int32(token)
      firstPlace[token] = 0
      count += 1
    }
    return (tokens[0..<count], rows.rows(0..<count))
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
