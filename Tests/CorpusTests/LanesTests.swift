import Corpus
import Platform
import Testing

struct LanesTests {
  private static let end: Int32 = -1

  private func read(
    _ lanes: Lanes, _ segment: Int, _ own: Range<Int>, from tokens: TokenArray
  ) throws -> (inputs: [Int32], targets: [Int32]) {
    var inputs = [Int32](repeating: -9, count: own.count * lanes.segmentLength)
    var targets = inputs
    try inputs.withUnsafeMutableBufferPointer { inputs in
      try targets.withUnsafeMutableBufferPointer { targets in
        try lanes.read(segmentIndex: segment, lanes: own, from: tokens, inputs: inputs, targets: targets)
      }
    }
    return (inputs, targets)
  }

  @Test func rowsAreTimeMajor() throws {
    let tokens = TokenArray((0..<14).map { Int32($0) })
    let lanes = try Lanes(tokenCount: 14, laneCount: 2, segmentLength: 3, endOfSentenceID: Self.end)
    let first = try read(lanes, 0, 0..<2, from: tokens)
    #expect(first.inputs == [-1, -1, 0, 7, 1, 8])
    #expect(first.targets == [0, 7, 1, 8, 2, 9])
    let second = try read(lanes, 1, 1..<2, from: tokens)
    #expect(second.inputs == [9, 10, 11])
    #expect(second.targets == [10, 11, 12])
  }

  @Test(arguments: [1, 2, 3, 4, 6, 12], [100, 101, 1007])
  func lanesOfAllRanksTileTheText(rankCount: Int, tokenCount: Int) throws {
    let tokens = TokenArray((0..<tokenCount).map { Int32($0) })
    let lanes = try Lanes(tokenCount: tokenCount, laneCount: 12, segmentLength: 4, endOfSentenceID: Self.end)
    var seenCounts = [Int](repeating: 0, count: tokenCount)
    for segment in 0..<lanes.segmentsPerEpoch {
      for rank in 0..<rankCount {
        let own = rank * 12 / rankCount..<(rank + 1) * 12 / rankCount
        let (inputs, targets) = try read(lanes, segment, own, from: tokens)
        for (input, target) in zip(inputs, targets) {
          seenCounts[Int(target)] += 1
          let isLaneStart = Int(target) % lanes.laneLength == 0
          #expect(input == (isLaneStart ? Self.end : target - 1))
        }
      }
    }
    #expect(seenCounts.allSatisfy { $0 <= 1 })
    let droppedCount = lanes.droppedTokenCount + lanes.droppedTailTokenCount
    #expect(seenCounts.reduce(0, +) == tokenCount - droppedCount)
  }

  @Test func countsDroppedTokens() throws {
    let lanes = try Lanes(tokenCount: 103, laneCount: 4, segmentLength: 10, endOfSentenceID: Self.end)
    #expect(lanes.laneLength == 25)
    #expect(lanes.segmentsPerEpoch == 2)
    #expect(lanes.droppedTokenCount == 3)
    #expect(lanes.droppedTailTokenCount == 20)
  }

  @Test func theSecondEpochRepeatsTheFirst() throws {
    let tokens = TokenArray((0..<50).map { Int32($0) })
    let lanes = try Lanes(tokenCount: 50, laneCount: 2, segmentLength: 8, endOfSentenceID: Self.end)
    #expect((0..<7).map(lanes.isEpochStart) == [true, false, false, true, false, false, true])
    #expect(lanes.position(7) == (epoch: 2, segmentInEpoch: 1))
    let (early, late) = try (read(lanes, 1, 0..<2, from: tokens), read(lanes, 7, 0..<2, from: tokens))
    #expect(early.inputs == late.inputs && early.targets == late.targets)
  }

  @Test func acceptsATextThatFitsExactly() throws {
    let lanes = try Lanes(tokenCount: 12, laneCount: 3, segmentLength: 4, endOfSentenceID: Self.end)
    #expect(lanes.segmentsPerEpoch == 1 && lanes.droppedTokenCount == 0 && lanes.droppedTailTokenCount == 0)
  }

  @Test func errorStatesHowManyTokensAreNeeded() throws {
    let said = message { _ = try Lanes(tokenCount: 11, laneCount: 3, segmentLength: 4, endOfSentenceID: 0) }
    #expect(said?.contains("12 tokens") == true && said?.contains("found 11") == true)
    #expect(throws: MilmError.self) {
      try Lanes(tokenCount: 11, laneCount: 1 << 40, segmentLength: 1 << 40, endOfSentenceID: 0)
    }
    #expect(throws: MilmError.self) {
      try Lanes(tokenCount: 11, laneCount: 0, segmentLength: 4, endOfSentenceID: 0)
    }
  }
}
