import Communication
import Platform
import Synchronization
import TestSupport
import Testing

private let elementCount = 700
private let ranges = [ExchangeRange(range: 0..<elementCount, blockLength: 32, name: "table")]

private func makeExchange(
  _ communicator: LocalCommunicator, _ thread: CommunicationThread, codec: Codec = .int8
) throws
  -> GradientExchange
{
  try GradientExchange(
    communicator: communicator, thread: thread, elementCount: elementCount, ranges: ranges,
    configuration: ExchangeConfiguration(codec: codec, bucketByteCount: 500))
}

extension GradientExchange {
  fileprivate func runStep(_ step: Int, rank: Int, isSkipped: Bool = false) throws -> [Float] {
    var values = gradient(seed: 100 * step + rank, count: elementCount)
    try values.withUnsafeMutableBufferPointer { buffer in
      begin(step: step, flushing: false, gradient: try #require(buffer.baseAddress))
      try submit(range: 0..<elementCount)
      _ = try finish()
      if isSkipped { rollback() } else { commit() }
    }
    return values
  }
}

/// The residuals `rankCount` ranks have after three steps.
private func savedResiduals(rankCount: Int) throws -> [ResidualPart: [Float]] {
  try onLocalRanks(rankCount) { communicator, thread in
    let exchange = try makeExchange(communicator, thread)
    for step in 1...3 { _ = try exchange.runStep(step, rank: communicator.rank) }
    var saved: [ResidualPart: [Float]] = [:]
    try exchange.gatherResiduals(over: communicator, to: 0) { saved[$0] = Array($1) }
    return saved
  }[0]
}

@Suite(.timeLimit(.minutes(5))) struct ResidualTests {
  @Test(arguments: 2...4) func aRestoredRunContinuesBitForBit(rankCount: Int) throws {
    let saved = try savedResiduals(rankCount: rankCount)
    #expect(saved.count == rankCount + 1)
    let continued = try onLocalRanks(rankCount) { communicator, thread in
      let exchange = try makeExchange(communicator, thread)
      let residuals = SavedResiduals(rankCount: rankCount) { saved[$0] ?? [] }
      try exchange.restoreResiduals(communicator.rank == 0 ? residuals : nil, over: communicator, from: 0)
      return try exchange.runStep(4, rank: communicator.rank)
    }
    let straight = try onLocalRanks(rankCount) { communicator, thread in
      let exchange = try makeExchange(communicator, thread)
      return try (1...4).map { try exchange.runStep($0, rank: communicator.rank) }[3]
    }
    #expect(continued.map(\.bits) == straight.map(\.bits))
  }

  /// The pending correction of the mean gradient stays the same: Σ senders ÷ N + owners.
  @Test(arguments: [(3, 2), (2, 3), (2, 1), (2, 5)]) func aDifferentRankCountKeepsTheTotalResidual(
    old: Int, new: Int
  )
    throws
  {
    let saved = try savedResiduals(rankCount: old)
    let correction = try #require(saved[.owner]).indices.map { index in
      Double(saved[.owner]?[index] ?? 0)
        + (0..<old).reduce(0) { $0 + Double(saved[.sender(rank: $1)]?[index] ?? 0) } / Double(old)
    }
    let restored = try onLocalRanks(new) { communicator, thread in
      let exchange = try makeExchange(communicator, thread)
      let residuals = SavedResiduals(rankCount: old) { saved[$0] ?? [] }
      try exchange.restoreResiduals(communicator.rank == 0 ? residuals : nil, over: communicator, from: 0)
      var parts: [ResidualPart: [Float]] = [:]
      try exchange.gatherResiduals(over: communicator, to: 0) { parts[$0] = Array($1) }
      let mean = new == 1 ? try exchange.runStep(4, rank: 0) : []
      return (parts, mean, exchange.residualsAreZero)
    }
    let owner = try #require(restored[0].0[.owner])
    for index in owner.indices { #expect(abs(Double(owner[index]) - correction[index]) < 1e-6) }
    for rank in 0..<new { #expect(restored[0].0[.sender(rank: rank)]?.allSatisfy { $0 == 0 } == true) }
    guard new == 1 else { return }
    let raw = gradient(seed: 400, count: elementCount)
    #expect(
      restored[0].1.bits == zip(raw, owner).map { $0 + $1 }.bits, "one rank applies all residuals at once")
    #expect(restored[0].2)
  }

  /// Applied means plus residuals equal all mean gradients: over a hundred steps on two nodes of two ranks, of which one is
  /// skipped, then on three separate ranks.
  @Test(arguments: Codec.allCases.filter { !$0.isExact }) func nothingIsLostWhenStepsAreSkippedAndRanksChange(
    _ codec: Codec
  ) throws {
    var total = [Double](repeating: 0, count: elementCount)
    var saved: (parts: [ResidualPart: [Float]], nodes: [Int])?
    for (rankCount, ranksPerNode, steps) in [(4, 2, 1...60), (3, 1, 61...100)] {
      let known = saved
      let results = try onLocalRanks(rankCount, ranksPerNode: ranksPerNode) { communicator, thread in
        let exchange = try makeExchange(communicator, thread, codec: codec)
        let residuals = known.map { known in
          SavedResiduals(rankCount: known.nodes.count, nodeOfRank: known.nodes) { known.parts[$0] ?? [] }
        }
        try exchange.restoreResiduals(communicator.rank == 0 ? residuals : nil, over: communicator, from: 0)
        var applied = [Double](repeating: 0, count: elementCount)
        for step in steps {
          let mean = try exchange.runStep(step, rank: communicator.rank, isSkipped: step == 30)
          if step != 30 { for index in mean.indices { applied[index] += Double(mean[index]) } }
        }
        var parts: [ResidualPart: [Float]] = [:]
        try exchange.gatherResiduals(over: communicator, to: 0) { parts[$0] = Array($1) }
        return (applied, parts, exchange.layout.nodeOfRank)
      }
      for index in total.indices { total[index] += results[0].0[index] }
      for step in steps where step != 30 {
        for rank in 0..<rankCount {
          let values = gradient(seed: 100 * step + rank, count: elementCount)
          for index in total.indices { total[index] -= Double(values[index]) / Double(rankCount) }
        }
      }
      saved = (results[0].1, results[0].2)
    }
    let last = try #require(saved)
    for (part, values) in last.parts {
      let share = part == .owner ? 1 : 1 / Double(last.nodes.count)
      for index in total.indices { total[index] += Double(values[index]) * share }
    }
    #expect(total.reduce(0) { max($0, abs($1)) } < 1e-5)
  }

  @Test func aRestoredRunOnNodesContinuesBitForBit() throws {
    let run = { (steps: ClosedRange<Int>, saved: [ResidualPart: [Float]]?) in
      try onLocalRanks(4, ranksPerNode: 2) { communicator, thread in
        let exchange = try makeExchange(communicator, thread)
        let residuals = saved.map { saved in
          SavedResiduals(rankCount: 4, nodeOfRank: [0, 0, 1, 1]) { saved[$0] ?? [] }
        }
        try exchange.restoreResiduals(communicator.rank == 0 ? residuals : nil, over: communicator, from: 0)
        let means = try steps.map { try exchange.runStep($0, rank: communicator.rank) }
        var parts: [ResidualPart: [Float]] = [:]
        try exchange.gatherResiduals(over: communicator, to: 0) { parts[$0] = Array($1) }
        return (means[means.count - 1], parts)
      }
    }
    let straight = try run(1...6, nil)
    let continued = try run(4...6, run(1...3, nil)[0].1)
    for rank in 0..<4 { #expect(continued[rank].0.bits == straight[rank].0.bits) }
    #expect(continued[0].1.mapValues(\.bits) == straight[0].1.mapValues(\.bits))
  }

  @Test func residualsOfAnotherModelAreRefused() throws {
    #expect(throws: MilmError.self) {
      try onLocalRanks(2) { communicator, thread in
        let exchange = try makeExchange(communicator, thread)
        let residuals = SavedResiduals(rankCount: 2) { _ in [1, 2, 3] }
        try exchange.restoreResiduals(communicator.rank == 0 ? residuals : nil, over: communicator, from: 0)
      }
    }
  }

  @Test func withoutSavedResidualsTheyAreZero() throws {
    let areZero = try onLocalRanks(2) { communicator, thread in
      let exchange = try makeExchange(communicator, thread)
      _ = try exchange.runStep(1, rank: communicator.rank)
      #expect(!exchange.residualsAreZero)
      try exchange.restoreResiduals(nil, over: communicator, from: 0)
      let wereZero = exchange.residualsAreZero
      let mean = try exchange.runStep(2, rank: communicator.rank)
      let other = try makeExchange(communicator, thread)
      #expect(try mean.bits == other.runStep(2, rank: communicator.rank).bits)
      return wereZero
    }
    #expect(areZero == [true, true])
  }
}
