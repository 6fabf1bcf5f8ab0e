/// Whatever wrote a state file, its numbers are used in sums, products and as indices.
extension CheckpointState {
  /// Far above any real count, and far below where a sum or product of a few could overflow.
  private static let countLimit = 1 << 56
  private static let rankLimit = 1 << 20
  private static let stepLimit = 1 << 41
  private static let segmentLimit = 1 << 53

  /// The reason why a state of the right types is unusable, nil if there is none.
  var defect: String? {
    rangeDefect ?? orderDefect ?? guardDefect ?? layoutDefect
      ?? files.keys.first { !isPlainFileName($0) }.map {
        "expected the names of files beside it, found \($0)"
      }
  }

  private var rangeDefect: String? {
    // A range needs a lower bound below its upper one, whatever is in the file.
    let (steps, ranks) = (0...max(step, 0), 1...max(rankCount, 1))
    let counts: [(name: String, value: Int?, range: ClosedRange<Int>)] = [
      ("step", step, 0...Self.stepLimit), ("segmentIndex", segmentIndex, 0...Self.segmentLimit),
      ("tokenCount", tokenCount, 0...Self.countLimit), ("skippedStepCount", skippedStepCount, steps),
      ("consecutiveSkippedStepCount", consecutiveSkippedStepCount, 0...max(skippedStepCount, 0)),
      ("plateau.evaluationsWithoutGain", plateau.evaluationsWithoutGain, 0...Self.stepLimit),
      ("patienceUsed", patienceUsed, 0...Self.stepLimit), ("bestStep", bestStep, steps),
      ("lastEvaluation.step", lastEvaluation?.step, steps),
      ("stopEvaluation.step", stopEvaluation?.step, steps),
      ("pendingEvaluation.step", pendingEvaluation?.step, steps),
      ("metricsLineCount", metricsLineCount, steps),
      ("guardRecord.returnCount", guardRecord?.returnCount, 0...Self.stepLimit),
      ("guardRecord.lowestLossStep", guardRecord?.lowestLossStep, steps),
      ("rankCount", rankCount, 1...Self.rankLimit), ("threadCount", threadCount, 1...Self.rankLimit),
      ("trainingRankCount", trainingRankCount, ranks),
      ("vocabularyGroupSize", vocabularyGroupSize, ranks),
    ]
    for (name, value, range) in counts {
      guard let value, !range.contains(value) else { continue }
      return "expected a \(name) from \(range.lowerBound) to \(range.upperBound), found \(value)"
    }
    return nil
  }

  /// A step reads at least one segment.
  private var orderDefect: String? {
    segmentIndex >= step
      ? nil : "expected as many segments as steps or more, found \(segmentIndex) and \(step)"
  }

  private var guardDefect: String? {
    guard plateau.rateScale >= 0, plateau.rateScale <= 1 else {
      return "expected a plateau.rateScale from 0 to 1, found \(plateau.rateScale)"
    }
    guard let record = guardRecord else { return nil }
    guard record.rateScale > 0, record.rateScale <= 1 else {
      return "expected a guardRecord.rateScale above 0 and at most 1, found \(record.rateScale)"
    }
    guard record.losses.count == record.norms.count else {
      return
        "expected as many guardRecord.losses as norms, found \(record.losses.count) and \(record.norms.count)"
    }
    let values = record.losses + record.norms + (record.lowestLoss.map { [$0] } ?? [])
    return values.first { !$0.isFinite }.map { "expected finite numbers in guardRecord, found \($0)" }
  }

  private var layoutDefect: String? {
    guard let nodeOfRank else { return nil }
    guard nodeOfRank.count == rankCount, nodeOfRank.allSatisfy((0..<rankCount).contains) else {
      return
        "expected the node of each of \(rankCount) ranks in nodeOfRank, found \(nodeOfRank.count) numbers "
        + "from \(nodeOfRank.min() ?? 0) to \(nodeOfRank.max() ?? 0)"
    }
    return nil
  }
}
