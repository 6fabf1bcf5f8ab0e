import Communication
import Platform
import TestSupport
import Testing

/// A tensor of rows of 32 that is finished in two ranges, and a vector, cut into many small buckets.
private let elementCount = 1777
private let ranges = [
  ExchangeRange(range: 0..<704, blockLength: 32, name: "table range 1"),
  ExchangeRange(range: 704..<1280, blockLength: 32, name: "table range 2"),
  ExchangeRange(range: 1280..<elementCount, blockLength: 256, name: "vector"),
]

private func makeExchange(
  _ codec: Codec, _ communicator: LocalCommunicator, _ thread: CommunicationThread, rows: SparseRows? = nil,
  stallLimits: StallLimits? = nil
) throws -> GradientExchange {
  try GradientExchange(
    communicator: communicator, thread: thread, elementCount: elementCount, ranges: ranges, rows: rows,
    configuration: ExchangeConfiguration(codec: codec, bucketByteCount: 1000, stallLimits: stallLimits))
}

/// Sparse rows of one rank.
private struct Rows {
  var ids: [Int32]
  var values: [Float]
}

extension GradientExchange {
  /// The mean of all ranks' gradients, without the commit or rollback that must follow.
  fileprivate func mean(of gradient: [Float], step: Int, flushing: Bool = false, rows: Rows? = nil) throws
    -> [Float]
  {
    var gradient = gradient
    try gradient.withUnsafeMutableBufferPointer { buffer in
      let start = try #require(buffer.baseAddress)
      begin(step: step, flushing: flushing, gradient: start)
      for range in ranges.reversed() { try submit(range: range.range) }
      guard let rows else {
        _ = try finish()
        return
      }
      try rows.ids.withUnsafeBufferPointer { ids in
        try rows.values.withUnsafeBufferPointer { values in
          try submitRows(ids: ids, rows: values.baseAddress ?? UnsafePointer(start))
          _ = try finish()
        }
      }
    }
    return gradient
  }
}

/// The mean as exact codecs must give it.
private func exactMean(rankCount: Int, step: Int) -> [Float] {
  let all = (0..<rankCount).map { gradient(seed: 100 * step + $0, count: elementCount) }
  return (0..<elementCount).map { index in
    all.reduce(Float(0)) { $0 + $1[index] } / Float(rankCount)
  }
}

@Suite(.timeLimit(.minutes(5))) struct ExchangeTests {
  @Test(arguments: Codec.allCases.filter(\.isExact), 1...5)
  func exactCodecsGiveTheMeanBitForBit(_ codec: Codec, rankCount: Int) throws {
    let results = try onLocalRanks(rankCount) { communicator, thread in
      let exchange = try makeExchange(codec, communicator, thread)
      #expect(exchange.residualsAreZero)
      return try exchange.mean(of: gradient(seed: 100 + communicator.rank, count: elementCount), step: 1)
    }
    let expected = exactMean(rankCount: rankCount, step: 1)
    for result in results { #expect(firstDifference(result.bits, expected.bits) == nil) }
  }

  /// Ranks, and how many of them make a node: nodes of unequal size, and one node alone, too.
  @Test(arguments: Codec.allCases, [(2, 1), (3, 1), (5, 1), (4, 2), (5, 2), (5, 4), (3, 3)])
  func replicasAndRunsAreBitEqual(_ codec: Codec, _ shape: (rankCount: Int, ranksPerNode: Int)) throws {
    let run = {
      try onLocalRanks(shape.rankCount, ranksPerNode: shape.ranksPerNode) { communicator, thread in
        let exchange = try makeExchange(codec, communicator, thread)
        return try (1...4).flatMap { step in
          let values = gradient(seed: 100 * step + communicator.rank, count: elementCount)
          defer { exchange.commit() }
          return try exchange.mean(of: values, step: step)
        }
      }
    }
    let first = try run()
    for result in try first + run() { #expect(firstDifference(result.bits, first[0].bits) == nil) }
  }

  /// Applied means plus residuals equal the sum of all gradients.
  @Test(arguments: Codec.allCases.filter { !$0.isExact }, 1...5)
  func nothingIsLostOverAHundredSteps(_ codec: Codec, rankCount: Int) throws {
    let stepCount = 100
    let owed = try onLocalRanks(rankCount) { communicator, thread in
      let exchange = try makeExchange(codec, communicator, thread)
      var applied = [Double](repeating: 0, count: elementCount)
      for step in 1...stepCount {
        let values = gradient(seed: 100 * step + communicator.rank, count: elementCount)
        for (index, value) in try exchange.mean(of: values, step: step).enumerated() {
          applied[index] += Double(value)
        }
        exchange.commit()
      }
      var parts: [ResidualPart: [Float]] = [:]
      try exchange.gatherResiduals(over: communicator, to: 0) { parts[$0] = Array($1) }
      for (part, values) in parts {
        let share = part == .owner ? 1 : 1 / Double(rankCount)
        for index in applied.indices { applied[index] += Double(values[index]) * share }
      }
      return applied
    }
    var expected = [Double](repeating: 0, count: elementCount)
    for step in 1...stepCount {
      for rank in 0..<rankCount {
        let values = gradient(seed: 100 * step + rank, count: elementCount)
        for index in expected.indices { expected[index] += Double(values[index]) / Double(rankCount) }
      }
    }
    let worst = zip(owed[0], expected).reduce(0) { max($0, abs($1.0 - $1.1)) }
    #expect(worst < 1e-5)
  }

  @Test(arguments: Codec.allCases.filter { !$0.isExact }) func aSkippedStepLeavesNoTrace(_ codec: Codec)
    throws
  {
    let results = try onLocalRanks(3) { communicator, thread in
      let skipping = try makeExchange(codec, communicator, thread)
      let rank = communicator.rank
      var bad = gradient(seed: 50, count: elementCount)
      if rank == 1 { bad[40] = .nan }
      _ = try skipping.mean(of: gradient(seed: rank, count: elementCount), step: 1)
      skipping.commit()
      let mean = try skipping.mean(of: bad, step: 2)
      #expect(mean[40].isNaN, "a NaN of one rank reaches all")
      skipping.rollback()
      let after = try skipping.mean(of: gradient(seed: 20 + rank, count: elementCount), step: 3)

      let straight = try makeExchange(codec, communicator, thread)
      _ = try straight.mean(of: gradient(seed: rank, count: elementCount), step: 1)
      straight.commit()
      return after.bits
        == (try straight.mean(of: gradient(seed: 20 + rank, count: elementCount), step: 3).bits)
    }
    #expect(results == [true, true, true])
  }

  @Test(arguments: Codec.allCases.filter { !$0.isExact }) func aFlushSendsAllResiduals(_ codec: Codec) throws
  {
    let applied = try onLocalRanks(3) { communicator, thread in
      let exchange = try makeExchange(codec, communicator, thread)
      var applied = [Double](repeating: 0, count: elementCount)
      for step in 1...3 {
        let values = gradient(seed: 100 * step + communicator.rank, count: elementCount)
        let mean = try exchange.mean(of: values, step: step, flushing: step == 3)
        for index in mean.indices { applied[index] += Double(mean[index]) }
        #expect(step == 1 || !exchange.residualsAreZero)
        exchange.commit()
      }
      #expect(exchange.residualsAreZero)
      let next = gradient(seed: 400 + communicator.rank, count: elementCount)
      let other = try makeExchange(codec, communicator, thread)
      let mean = try exchange.mean(of: next, step: 4)
      #expect(try mean.bits == other.mean(of: next, step: 4).bits, "nothing is left of earlier steps")
      return applied
    }
    let means = (1...3).map { exactMean(rankCount: 3, step: $0) }
    for index in 0..<elementCount {
      #expect(abs(applied[0][index] - means.reduce(0) { $0 + Double($1[index]) }) < 1e-6)
    }
  }

  /// Within a node sums are made first, so the last digits differ from those of a sum over ranks.
  @Test(arguments: Codec.allCases.filter(\.isExact), [(4, 2), (5, 2), (5, 4), (2, 2)])
  func nodesGiveTheMean(_ codec: Codec, _ shape: (rankCount: Int, ranksPerNode: Int)) throws {
    let results = try onLocalRanks(shape.rankCount, ranksPerNode: shape.ranksPerNode) {
      communicator, thread in
      let exchange = try makeExchange(codec, communicator, thread)
      return try (1...3).flatMap { step in
        defer { exchange.commit() }
        return try exchange.mean(
          of: gradient(seed: 100 * step + communicator.rank, count: elementCount), step: step)
      }
    }
    let expected = (1...3).flatMap { exactMean(rankCount: shape.rankCount, step: $0) }
    for result in results {
      let worst = zip(result, expected).reduce(0) { max($0, abs($1.0 - $1.1)) }
      #expect(worst <= 3e-7)
    }
  }

  @Test(arguments: [(4, 2), (5, 2), (5, 4), (2, 2)])
  func rowsOfNodesAreAdded(_ shape: (rankCount: Int, ranksPerNode: Int)) throws {
    let results = try onLocalRanks(shape.rankCount, ranksPerNode: shape.ranksPerNode) {
      communicator, thread in
      let sparse = SparseRows(offset: 0, width: 32, rowCount: 40, maximumRowCount: 2)
      let exchange = try makeExchange(.uncompressed, communicator, thread, rows: sparse)
      let rank = communicator.rank
      return try (1...2).flatMap { step in
        defer { exchange.commit() }
        let rows = Rows(
          ids: rank == 1 ? [] : [Int32(rank + step), 39],
          values: rank == 1 ? [] : gradient(seed: 900 + rank, count: 64))
        return try exchange.mean(
          of: gradient(seed: 100 * step + rank, count: elementCount), step: step, rows: rows)
      }
    }
    let expected = (1...2).flatMap { step in
      var mean = exactMean(rankCount: shape.rankCount, step: step)
      for rank in 0..<shape.rankCount where rank != 1 {
        let values = gradient(seed: 900 + rank, count: 64)
        for column in 0..<32 {
          mean[(rank + step) * 32 + column] += values[column] / Float(shape.rankCount)
          mean[39 * 32 + column] += values[32 + column] / Float(shape.rankCount)
        }
      }
      return mean
    }
    for result in results {
      let worst = zip(result, expected).reduce(0) { max($0, abs($1.0 - $1.1)) }
      #expect(worst <= 5e-7)
    }
  }

  @Test(arguments: 1...3) func rowsAreAddedToTheirMatrix(rankCount: Int) throws {
    let results = try onLocalRanks(rankCount) { communicator, thread in
      let sparse = SparseRows(offset: 0, width: 32, rowCount: 40, maximumRowCount: 2)
      let exchange = try makeExchange(.uncompressed, communicator, thread, rows: sparse)
      let rank = communicator.rank
      let rows = Rows(
        ids: rank == 1 ? [] : [Int32(rank), 39],
        values: rank == 1 ? [] : gradient(seed: 900 + rank, count: 64))
      return try exchange.mean(of: gradient(seed: 100 + rank, count: elementCount), step: 1, rows: rows)
    }
    var expected = exactMean(rankCount: rankCount, step: 1)
    for rank in 0..<rankCount where rank != 1 {
      let values = gradient(seed: 900 + rank, count: 64)
      for column in 0..<32 {
        expected[rank * 32 + column] += values[column] / Float(rankCount)
        expected[39 * 32 + column] += values[32 + column] / Float(rankCount)
      }
    }
    for result in results { #expect(firstDifference(result.bits, expected.bits) == nil) }
  }

  @Test(arguments: [[3, 3], [4, 3], [0, 40], [-1, 0]] as [[Int32]], [1, 2])
  func rowsOutOfOrderOrBoundsAreRefused(_ ids: [Int32], rankCount: Int) {
    #expect(throws: MilmError.self) {
      try onLocalRanks(rankCount) { communicator, thread in
        let sparse = SparseRows(offset: 0, width: 32, rowCount: 40, maximumRowCount: 2)
        let exchange = try makeExchange(.uncompressed, communicator, thread, rows: sparse)
        let rows = Rows(ids: ids, values: gradient(seed: 9, count: 64))
        _ = try exchange.mean(of: gradient(seed: 1, count: elementCount), step: 1, rows: rows)
      }
    }
  }

  @Test func aReportCountsSentBytes() throws {
    let reports = try onLocalRanks(2) { communicator, thread in
      let exchange = try makeExchange(.uncompressed, communicator, thread)
      var values = (0..<elementCount).map { noise(communicator.rank, $0) }
      return try values.withUnsafeMutableBufferPointer { buffer in
        exchange.begin(step: 1, flushing: false, gradient: try #require(buffer.baseAddress))
        for range in ranges { try exchange.submit(range: range.range) }
        return try exchange.finish()
      }
    }
    #expect(reports.reduce(0) { $0 + $1.rawByteCount } == 2 * 4 * elementCount)
    for report in reports {
      #expect(report.codec == .uncompressed)
      #expect(report.wireByteCount > report.rawByteCount / 2)
      #expect(report.totalSeconds >= report.wireSeconds, "coding overlaps the wire")
      #expect(report.encodeSeconds > 0 && report.wireSeconds > 0 && report.decodeSeconds > 0)
    }
  }

  @Test func aLateRankIsNamed() throws {
    let limits = StallLimits(warnSeconds: 0.1, abortSeconds: 0.5) { _ in }
    let error = #expect(throws: MilmError.self) {
      try onLocalRanks(3) { communicator, thread in
        guard communicator.rank != 1 else { return }
        let exchange = try makeExchange(.int8, communicator, thread, stallLimits: limits)
        let values = gradient(seed: 1, count: elementCount)
        _ = try exchange.mean(of: values, step: 12)
      }
    }
    // On a busy machine another rank may be late as well.
    let text = error?.description ?? ""
    #expect(text.contains("at step 12, vector 1/2, reduce for "), "\(text)")
    #expect(text.contains("rank 1 (local-1); the limit is 0.5 s"), "\(text)")
  }
}
