import Corpus
import LanguageModel
import Layers
import Tensors

/// Scores lines, each alone from the same state; lines of like length are scored side by side.
final class LineScorer {
  /// Rows of a block, and its most lanes and steps; constant, so that blocks are large and memory is bounded.
  private static let rowCount = 1024
  private static let laneCountLimit = 64
  private static let stepCountLimit = 64

  private let model: LanguageModel
  private let weights: ParameterBuffer
  private let packed: Weights
  private let engine: ComputeEngine
  private let endOfSentence: Int32
  private var scorers: [Int: Scorer] = [:]
  private let arena = Arena()
  private let inputs: Vector<Int32>
  private let targets: Vector<Int32>
  /// One lane: the state before each line; nil is zero.
  private let start: CarriedState?

  /// A scorer of lines that follow `context`, whole lines that the model reads first.
  init(
    model: LanguageModel, weights: ParameterBuffer, engine: ComputeEngine, endOfSentence: Int32,
    context: [Int32]
  ) {
    engine.prepareThread()
    self.model = model
    self.weights = weights
    self.engine = engine
    self.endOfSentence = endOfSentence
    packed = Weights(weights, engine: engine)
    inputs = arena.vector(of: Int32.self, count: Self.rowCount)
    targets = arena.vector(of: Int32.self, count: Self.rowCount)
    guard !context.isEmpty else {
      start = nil
      return
    }
    let scorer = Scorer(
      model, parameters: weights, stepCount: Self.stepCountLimit, streamCount: 1, engine: engine,
      weights: packed)
    // A line begins with the last token of the context as input, which is an <eos>.
    let read = [endOfSentence] + context.dropLast()
    for first in stride(from: 0, to: read.count, by: Self.stepCountLimit) {
      let part = read[first..<min(first + Self.stepCountLimit, read.count)]
      for (row, token) in part.enumerated() { inputs[row] = token }
      scorer.read(inputs[0..<part.count])
    }
    let start = CarriedState(like: scorer.state, laneCount: 1, in: arena)
    withExtendedLifetime(scorer) { start.copy(from: scorer.state) }
    self.start = start
  }

  /// The negative log-likelihood of each line in nats, zero for the lines of other ranks: blocks are assigned round-robin.
  func score(_ lines: EncodedLines, rank: Int, rankCount: Int) -> [Double] {
    var losses = [Double](repeating: 0, count: lines.count)
    let lengths = (0..<lines.count).map { lines.tokenRange(of: $0).count }
    let order = (0..<lines.count).sorted { lengths[$0] > lengths[$1] }
    var first = 0
    var block = 0
    while first < order.count {
      let laneCount = Self.laneCount(forLines: order.count - first)
      let end = min(first + laneCount, order.count)
      if block % rankCount == rank {
        score(order[first..<end], of: lines, laneCount: laneCount, into: &losses)
      }
      first = end
      block += 1
    }
    return losses
  }

  /// The smallest power of two with a lane for each line, or half of it where more than a quarter of its lanes would be
  /// idle.
  private static func laneCount(forLines count: Int) -> Int {
    var laneCount = 1
    while laneCount < min(count, laneCountLimit) { laneCount *= 2 }
    return 4 * count < 3 * laneCount ? laneCount / 2 : laneCount
  }

  /// Scores lines, longest first, side by side.
  private func score(
    _ group: ArraySlice<Int>, of lines: EncodedLines, laneCount: Int, into losses: inout [Double]
  ) {
    let scorer = scorer(laneCount: laneCount)
    begin(scorer)
    let ranges = group.map { lines.tokenRange(of: $0) }
    for first in stride(from: 0, to: ranges[0].count, by: scorer.stepCount) {
      let stepCount = min(scorer.stepCount, ranges[0].count - first)
      let rows = 0..<stepCount * laneCount
      inputs[rows].fill(endOfSentence)
      targets[rows].fill(endOfSentence)
      for (lane, range) in ranges.enumerated() {
        for step in 0..<max(0, min(stepCount, range.count - first)) {
          let place = range.lowerBound + first + step
          inputs[step * laneCount + lane] = first + step == 0 ? endOfSentence : lines.tokens[place - 1]
          targets[step * laneCount + lane] = lines.tokens[place]
        }
      }
      let found = scorer.score(inputs: inputs[rows], targets: targets[rows], rowCount: rows.count)
      for (lane, line) in group.enumerated() {
        for step in 0..<max(0, min(stepCount, ranges[lane].count - first)) {
          losses[line] += found[step * laneCount + lane]
        }
      }
    }
  }

  private func begin(_ scorer: Scorer) {
    guard let start else { return scorer.resetState() }
    for lane in 0..<scorer.streamCount { scorer.state.lanes(lane..<lane + 1).copy(from: start) }
  }

  private func scorer(laneCount: Int) -> Scorer {
    if let scorer = scorers[laneCount] { return scorer }
    let scorer = Scorer(
      model, parameters: weights, stepCount: min(Self.stepCountLimit, Self.rowCount / laneCount),
      streamCount: laneCount, engine: engine, weights: packed)
    scorers[laneCount] = scorer
    return scorer
  }
}
