import Corpus
import Platform
import Testing

struct StreamsTests {
  @Test(arguments: [1, 2, 3, 7, 16], [16, 17, 95, 96, 97, 100])
  func scoresEveryTokenOnce(streamCount: Int, tokenCount: Int) throws {
    for length in [1, 4, 7, 1000] {
      try scoresEveryTokenOnce(streamCount, tokenCount, blockLength: length)
    }
  }

  private func scoresEveryTokenOnce(_ streamCount: Int, _ tokenCount: Int, blockLength length: Int) throws {
    let tokens = TokenArray((0..<tokenCount).map { Int32($0) })
    let streams = try Streams(tokenCount: tokenCount, streamCount: streamCount, endOfSentenceID: -1)
    let starts = Set((0..<streamCount).map { Int32(streams.range(of: $0).lowerBound) })
    var scored: [Int32] = []
    for firstStep in stride(from: 0, to: streams.stepCount, by: length) {
      let block = streams.block(firstStep: firstStep, length: length)
      var inputs = [Int32](repeating: -9, count: block.stepCount * streamCount)
      var targets = inputs
      try inputs.withUnsafeMutableBufferPointer { inputs in
        try targets.withUnsafeMutableBufferPointer { targets in
          try streams.read(block, from: tokens, inputs: inputs, targets: targets)
        }
      }
      #expect(targets.dropFirst(block.tokenCount).allSatisfy { $0 == -9 })
      let isLast = firstStep + length >= streams.stepCount
      #expect(isLast || block.liveStreamCountInLastStep == streamCount)
      #expect(block.tokenCount == (block.stepCount - 1) * streamCount + block.liveStreamCountInLastStep)
      for (input, target) in zip(inputs, targets).prefix(block.tokenCount) {
        #expect(input == (starts.contains(target) ? -1 : target - 1))
        scored.append(target)
      }
    }
    #expect(scored.sorted() == tokens.ids)
  }

  @Test func theFirstStreamsAreOneTokenLonger() throws {
    let streams = try Streams(tokenCount: 11, streamCount: 4, endOfSentenceID: 0)
    #expect((0..<4).map(streams.range) == [0..<3, 3..<6, 6..<9, 9..<11])
    #expect(streams.block(firstStep: 2, length: 5).liveStreamCountInLastStep == 3)
  }

  @Test func oneStreamIsTheTextInFileOrder() throws {
    let tokens = TokenArray([4, 5, 6])
    let streams = try Streams(tokenCount: 3, streamCount: 1, endOfSentenceID: 1)
    var inputs = [Int32](repeating: 0, count: 3)
    var targets = inputs
    try inputs.withUnsafeMutableBufferPointer { inputs in
      try targets.withUnsafeMutableBufferPointer { targets in
        try streams.read(
          streams.block(firstStep: 0, length: 3), from: tokens, inputs: inputs, targets: targets)
      }
    }
    #expect(inputs == [1, 4, 5] && targets == [4, 5, 6])
  }

  @Test(arguments: [(3, 4), (0, 1), (5, 0)])
  func refusesStreamsWithoutTokens(tokenCount: Int, streamCount: Int) {
    #expect(throws: MilmError.self) {
      try Streams(tokenCount: tokenCount, streamCount: streamCount, endOfSentenceID: 0)
    }
  }
}
