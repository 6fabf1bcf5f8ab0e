import Communication
import Corpus
import LanguageModel
import Tensors

/// The training split as this rank reads it.
package struct TrainingData: Sendable {
  /// The tokens of the split.
  package let tokens: any TokenSequence
  /// All lanes, the same for every number of ranks.
  package let lanes: Lanes
  /// The lanes of this rank.
  package let ownLanes: Range<Int>
  let inputs: Vector<Int32>
  let targets: Vector<Int32>
  private let ahead: StepTokens
  private let arena = Arena()

  /// This rank's lanes of a split; throws where ranks do not divide the lanes, or the text is too short.
  package init(
    _ tokens: any TokenSequence, endOfSentenceID: Int32, configuration: RunConfiguration, ranks: Ranks
  ) throws {
    let training = configuration.training
    let laneLayout = try LaneLayout(configuration, rankCount: ranks.rankCount)
    self.tokens = tokens
    lanes = try Lanes(
      tokenCount: tokens.count, laneCount: training.lanes, segmentLength: training.segment,
      endOfSentenceID: endOfSentenceID)
    ownLanes = laneLayout.lanes(of: ranks.rank)
    ahead = StepTokens(tokens, lanes)
    inputs = arena.vector(of: Int32.self, count: ownLanes.count * training.segment)
    targets = arena.vector(of: Int32.self, count: ownLanes.count * training.segment)
  }

  /// Reads the tokens of a step's segments, so that a file that cannot be read is found out before the step begins.
  package func readAhead(_ segments: Range<Int>, lanes: Range<Int>) throws {
    try ahead.read(segments, lanes: lanes)
  }

  /// Segment `index` of the run, counted over all epochs; the tokens stay valid until the next one is read.
  package func segment(_ index: Int, firstTime: Int, key: RandomKey) throws -> Segment {
    try read(index, lanes: ownLanes, inputs: inputs, targets: targets)
    return Segment(
      inputs: inputs, targets: targets, firstLane: ownLanes.lowerBound, firstTime: firstTime, key: key)
  }

  /// The tokens of any lanes in segment `index`, time-major.
  func read(_ index: Int, lanes: Range<Int>, inputs: Vector<Int32>, targets: Vector<Int32>) throws {
    try ahead.copy(index, lanes: lanes, inputs: inputs, targets: targets)
  }
}
