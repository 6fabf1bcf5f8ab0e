import Communication
import Corpus
import Tensors

/// The training split as this rank reads it.
package struct TrainingData: Sendable {
  /// The tokens of the split.
  package let tokens: any TokenSequence
  /// All lanes, the same for every number of ranks.
  package let lanes: Lanes
  /// The lanes of this rank.
  package let ownLanes: Range<Int>

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
  }

  /// Reads segment `index` of the run, counted over all epochs, in any lanes, time-major.
  func read(_ index: Int, lanes wanted: Range<Int>, inputs: Vector<Int32>, targets: Vector<Int32>) throws {
    try lanes.read(
      segmentIndex: index, lanes: wanted, from: tokens, inputs: inputs.buffer, targets: targets.buffer)
  }
}
