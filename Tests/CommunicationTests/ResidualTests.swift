import Communication
import Synchronization
import Testing

private let elementCount = 700
private let ranges = [ExchangeRange(range: 0..<elementCount, blockLength: 32, name: "table")]

private func makeExchange(_ communicator: LocalCommunicator, _ thread: CommunicationThread)
  -> GradientExchange
{
  GradientExchange(
    communicator: communicator, thread: thread, elementCount: elementCount, ranges: ranges,
    configuration: ExchangeConfiguration(codec: .int8, bucketByteCount: 500))
}

extension GradientExchange {
  fileprivate func runStep(_ step: Int, rank: Int) throws -> [Float] {
    var values = gradient(seed: 100 * step + rank, count: elementCount)
    try values.withUnsafeMutableBufferPointer { buffer in
      begin(step: step, flushing: false, gradient: try #require(buffer.baseAddress))
      try submit(range: 0..<elementCount)
      _ = try finish()
      commit()
    }
    return values
  }
}

/// The residuals `rankCount` ranks have after three steps.
private func savedResiduals(rankCount: Int) throws -> [ResidualPart: [Float]] {
  try onLocalRanks(rankCount) { communicator, thread in
    let exchange = makeExchange(communicator, thread)
    for step in 1...3 { _ = try exchange.runStep(step, rank: communicator.rank) }
    var saved: [ResidualPart: [Float]] = [:]
    try exchange.gatherResiduals(over: communicator, to: 0) { saved[$0] = Array($1) }
    return saved
  }[0]
}

@Suite(.timeLimit(.minutes(1))) struct ResidualTests {
  @Test(arguments: 2...4) func aRestoredRunContinuesBitForBit(rankCount: Int) throws {
    let saved = try savedResiduals(rankCount: rankCount)
    #expect(saved.count == rankCount + 1)
    let continued = try onLocalRanks(rankCount) { communicator, thread in
      let exchange = makeExchange(communicator, thread)
      let residuals = SavedResiduals(rankCount: rankCount) { saved[$0] ?? [] }
      try exchange.restoreResiduals(communicator.rank == 0 ? residuals : nil, over: communicator, from: 0)
      return try exchange.runStep(4, rank: communicator.rank)
    }
    let straight = try onLocalRanks(rankCount) { communicator, thread in
      let exchange = makeExchange(communicator, thread)
      return try (1...4).map { try exchange.runStep($0, rank: communicator.rank) }[3]
    }
    #expect(continued.map(\.bits) == straight.map(\.bits))
  }

  /// What the mean gradient is owed stays the same: Σ senders ÷ N + owners.
  @Test(arguments: [(3, 2), (2, 3), (2, 1), (2, 5)]) func anotherRankCountKeepsWhatIsOwed(old: Int, new: Int)
    throws
  {
    let saved = try savedResiduals(rankCount: old)
    let owed = try #require(saved[.owner]).indices.map { index in
      Double(saved[.owner]?[index] ?? 0)
        + (0..<old).reduce(0) { $0 + Double(saved[.sender(rank: $1)]?[index] ?? 0) } / Double(old)
    }
    let restored = try onLocalRanks(new) { communicator, thread in
      let exchange = makeExchange(communicator, thread)
      let residuals = SavedResiduals(rankCount: old) { saved[$0] ?? [] }
      try exchange.restoreResiduals(communicator.rank == 0 ? residuals : nil, over: communicator, from: 0)
      var parts: [ResidualPart: [Float]] = [:]
      try exchange.gatherResiduals(over: communicator, to: 0) { parts[$0] = Array($1) }
      let mean = new == 1 ? try exchange.runStep(4, rank: 0) : []
      return (parts, mean, exchange.residualsAreZero)
    }
    let owner = try #require(restored[0].0[.owner])
    for index in owner.indices { #expect(abs(Double(owner[index]) - owed[index]) < 1e-6) }
    for rank in 0..<new { #expect(restored[0].0[.sender(rank: rank)]?.allSatisfy { $0 == 0 } == true) }
    guard new == 1 else { return }
    let raw = gradient(seed: 400, count: elementCount)
    #expect(restored[0].1.bits == zip(raw, owner).map { $0 + $1 }.bits, "one rank pays at once")
    #expect(restored[0].2)
  }

  @Test func residualsOfAnotherModelAreRefused() throws {
    #expect(throws: CommunicationError.self) {
      try onLocalRanks(2) { communicator, thread in
        let exchange = makeExchange(communicator, thread)
        let residuals = SavedResiduals(rankCount: 2) { _ in [1, 2, 3] }
        try exchange.restoreResiduals(communicator.rank == 0 ? residuals : nil, over: communicator, from: 0)
      }
    }
  }

  @Test func nothingSavedMeansZero() throws {
    let areZero = try onLocalRanks(2) { communicator, thread in
      let exchange = makeExchange(communicator, thread)
      _ = try exchange.runStep(1, rank: communicator.rank)
      #expect(!exchange.residualsAreZero)
      try exchange.restoreResiduals(nil, over: communicator, from: 0)
      return exchange.residualsAreZero && exchange.senderResidual.allSatisfy { $0 == 0 }
    }
    #expect(areZero == [true, true])
  }
}
