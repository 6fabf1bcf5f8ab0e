import Corpus
import LanguageModel
import Tensors

/// The training split as this rank reads it: its lanes, segment after segment.
public struct TrainingData: Sendable {
  /// The whole text.
  public let tokens: any TokenSequence
  /// How it is cut, the same for every number of ranks.
  public let lanes: Lanes
  /// The lanes of this rank.
  public let ownLanes: Range<Int>
  let inputs: Vector<Int32>
  let targets: Vector<Int32>
  private let arena = Arena()

  /// This rank's lanes of a split; throws where the lanes cannot be shared out evenly
  /// or the text is too short.
  init(
    _ tokens: any TokenSequence, endOfSentenceID: Int32, training: TrainingConfiguration, ranks: Ranks
  ) throws {
    guard training.lanes % ranks.rankCount == 0 else {
      throw TrainingError(
        "training.lanes: expected a multiple of the \(ranks.rankCount) ranks, found \(training.lanes)")
    }
    self.tokens = tokens
    lanes = try Lanes(
      tokenCount: tokens.count, laneCount: training.lanes, segmentLength: training.segment,
      endOfSentenceID: endOfSentenceID)
    let laneCount = training.lanes / ranks.rankCount
    ownLanes = ranks.rank * laneCount..<(ranks.rank + 1) * laneCount
    inputs = arena.vector(of: Int32.self, count: laneCount * training.segment)
    targets = arena.vector(of: Int32.self, count: laneCount * training.segment)
  }

  /// Segment `index` of the run, counted over all epochs; the words stay valid until the next is read.
  func segment(_ index: Int, firstTime: Int, key: RandomKey) -> Segment {
    lanes.read(
      segmentIndex: index, lanes: ownLanes, from: tokens, inputs: inputs.buffer, targets: targets.buffer)
    return Segment(
      inputs: inputs, targets: targets, firstLane: ownLanes.lowerBound, firstTime: firstTime, key: key)
  }
}
