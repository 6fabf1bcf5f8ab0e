import Platform

/// Which rank trains on which lanes; with placement `dedicated` rank 0 has none.
package struct LaneLayout: Sendable {
  /// How many ranks have lanes.
  let trainingRankCount: Int
  /// How many lanes each of these has.
  package let laneCountPerRank: Int
  private let rankCount: Int

  /// The lanes of each rank of a run; throws where the training ranks do not divide the lanes.
  package init(_ configuration: RunConfiguration, rankCount: Int) throws {
    let isDedicated = configuration.coordinator.placement == .dedicated
    guard !isDedicated || rankCount > 1 else {
      throw MilmError(
        "coordinator.placement: expected at least 2 ranks for a dedicated coordinator, found \(rankCount)")
    }
    trainingRankCount = isDedicated ? rankCount - 1 : rankCount
    let lanes = configuration.training.lanes
    guard lanes % trainingRankCount == 0 else {
      throw MilmError(
        "training.lanes: expected a multiple of the \(trainingRankCount) "
          + "\(isDedicated ? "training " : "")ranks, found \(lanes)")
    }
    laneCountPerRank = lanes / trainingRankCount
    self.rankCount = rankCount
  }

  /// The ranks that have lanes: all but a dedicated coordinator.
  package var trainingRanks: Range<Int> { rankCount - trainingRankCount..<rankCount }

  /// The lanes of a rank, by their global numbers.
  func lanes(of rank: Int) -> Range<Int> {
    let place = rank - trainingRanks.lowerBound
    return place < 0 ? 0..<0 : place * laneCountPerRank..<(place + 1) * laneCountPerRank
  }

  /// The factor of the mean gradient of a rank's own tokens.
  ///
  /// The exchange takes the mean over all ranks, and one without lanes adds nothing to it.
  var gradientWeight: Float { Float(rankCount) / Float(trainingRankCount) }
}
