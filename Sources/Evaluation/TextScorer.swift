import Communication
import Corpus
import LanguageModel
import Layers
import Tensors

/// Scores texts with one set of weights, full softmax, on all ranks of a job; rank 0 alone has the text.
///
/// Where there are at least as many lanes as ranks, every rank scores lanes of its own (`LaneScoring`); else rank 0
/// computes the recurrence, and the others the softmax (`SoftmaxScoring`).
package struct TextScorer {
  let model: LanguageModel
  let weights: ParameterBuffer
  let engine: ComputeEngine
  let ranks: any Communicator

  /// A scorer over `ranks`, which all have the same weights (default: this process alone).
  package init(
    model: LanguageModel, weights: ParameterBuffer, engine: ComputeEngine,
    ranks: any Communicator = LocalCommunicator.world(rankCount: 1)[0]
  ) {
    self.model = model
    self.weights = weights
    self.engine = engine
    self.ranks = ranks
  }

  /// On rank 0: the score of a text.
  ///
  /// `onToken` gets the loss of each token in the text's order where it is in one stream or in windows. `progress` gets
  /// the number of tokens done, and may throw to end it. Throws where there are fewer tokens than streams.
  package func score(
    _ tokens: some TokenSequence, method: ScoringMethod, specialTokens: SpecialTokens,
    onToken: (_ token: Int32, _ nll: Double) throws -> Void = { _, _ in },
    progress: (Int) throws -> Void = { _ in }
  ) throws -> TextScore {
    engine.prepareThread()
    let order = try ReadingOrder(
      method, tokenCount: tokens.count, rankCount: ranks.rankCount,
      endOfSentence: specialTokens.endOfSentence)
    let scoring = try scoring(method, order)
    var score = TextScore(vocabularySize: model.vocabularySize, unknown: specialTokens.unknown)
    func add(_ scored: ScoredBlock?) throws {
      guard let scored else { return }
      for row in scored.block.textRows {
        let (token, nll) = (scored.block.targets[row], scored.losses[row])
        score.add(token, nll: nll)
        try onToken(token, nll)
      }
      try progress(score.tokenCount)
    }
    // Two, because a block is collected when the next one has been read.
    let blocks = [Block(order), Block(order)]
    for index in 0..<order.blockCount {
      let block = blocks[index % 2]
      try order.read(index, from: tokens, into: block)
      try add(scoring.score(block))
    }
    try add(scoring.finish())
    return score
  }

  /// On the other ranks: scores what rank 0 sends until it is done.
  package func serve() throws {
    engine.prepareThread()
    let shape = try broadcastShape(stepCount: 0, laneCount: 0)
    if shape.laneCount >= ranks.rankCount {
      try LaneScoring.serve(self, stepCount: shape.stepCount, laneCount: shape.laneCount)
    } else {
      try SoftmaxScoring.serve(self, rowCount: shape.stepCount * shape.laneCount)
    }
  }

  private func scoring(_ method: ScoringMethod, _ order: ReadingOrder) throws -> any BlockScoring {
    _ = try broadcastShape(stepCount: order.stepCount, laneCount: order.laneCount)
    return order.laneCount >= ranks.rankCount
      ? LaneScoring(self, method: method, order: order)
      : SoftmaxScoring(self, method: method, order: order)
  }

  /// The shape of rank 0's blocks, on all ranks.
  private func broadcastShape(stepCount: Int, laneCount: Int) throws -> (stepCount: Int, laneCount: Int) {
    (
      Int(try ranks.maximum("steps of a block", UInt64(stepCount))),
      Int(try ranks.maximum("lanes of a block", UInt64(laneCount)))
    )
  }

  /// The cache that a method asks for.
  func cache(_ method: ScoringMethod, _ order: ReadingOrder) -> NeuralCache? {
    method.cache.map {
      NeuralCache($0, width: model.configuration.embedding, rowCount: order.rowCount, engine: engine)
    }
  }
}

/// How the ranks divide the work of a block; this is rank 0's side.
protocol BlockScoring: AnyObject {
  /// Scores a block, and returns the previous one, complete; its losses are valid until the next call.
  func score(_ block: Block) throws -> ScoredBlock?

  /// The last block.
  func finish() throws -> ScoredBlock?
}
