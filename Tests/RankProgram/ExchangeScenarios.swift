import Communication

/// The value of a made-up gradient; each element is a pure function of its place, rank and step.
private func gradientValue(rank: Int, step: Int, index: Int) -> Float {
  var bits = UInt64(rank + 1) &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(step + 1) &* 0xC2B2_AE3D_27D4_EB4F
  bits = (bits ^ UInt64(index)) &* 0xBF58_476D_1CE4_E5B9
  bits = (bits ^ (bits >> 31)) &* 0x94D0_49BB_1331_11EB
  return Float(Int64(bitPattern: bits) >> 40) / Float(1 << 23) * (index % 7 == 0 ? 1 : 0.01)
}

private func gradient(rank: Int, step: Int, count: Int) -> [Float] {
  (0..<count).map { gradientValue(rank: rank, step: step, index: $0) }
}

/// The mean as exact codecs must give it: added in the order of ranks within nodes and of nodes, then divided.
///
/// `ranks` are the job's numbers of a subset's ranks.
private func mean(_ layout: NodeLayout, step: Int, count: Int, ranks jobRanks: [Int]? = nil) -> [Float] {
  (0..<count).map { index in
    let sums = layout.nodes.map { ranks in
      let ranks = ranks.map { jobRanks?[$0] ?? $0 }
      return ranks.dropFirst().reduce(gradientValue(rank: ranks[0], step: step, index: index)) {
        $0 + gradientValue(rank: $1, step: step, index: index)
      }
    }
    return sums.dropFirst().reduce(sums[0], +) / Float(layout.rankCount)
  }
}

extension Ranks {
  fileprivate func exchange(
    _ codec: Codec, ranges: [ExchangeRange], rows: SparseRows? = nil, bucketByteCount: Int = 4096
  ) throws -> GradientExchange {
    try GradientExchange(
      communicator: world.gradients, thread: thread, elementCount: ranges.last?.range.upperBound ?? 0,
      ranges: ranges, rows: rows,
      configuration: ExchangeConfiguration(
        codec: codec, bucketByteCount: bucketByteCount, ranksPerNode: ranksPerNode))
  }

  /// Throws unless all ranks hold the same bits.
  fileprivate func claimEqual(_ values: [Float], _ what: String) throws {
    let bytes = values.withUnsafeBytes(Array.init)
    let all = try thread.run { [world] in try world.control.allGather(what, bytes) }
    try claim(all.allSatisfy { $0 == bytes }, "\(what): expected the same bits on all ranks")
  }
}

/// Two tensors: one of rows of 8, one vector, so that blocks, parts and buckets end at odd places.
private func ranges(count: Int) -> [ExchangeRange] {
  let rowsEnd = count / 2 / 8 * 8
  let rest = ExchangeRange(range: rowsEnd..<count, blockLength: 256, name: "rest")
  guard rowsEnd > 0 else { return [rest] }
  return [ExchangeRange(range: 0..<rowsEnd, blockLength: 8, name: "rows"), rest]
}

func allReduceMeansAllSizes(_ ranks: Ranks) throws {
  for codec in Codec.allCases {
    for count in [1, 2, 3, 7, 256, 1000, 100_003] {
      let exchange = try ranks.exchange(codec, ranges: ranges(count: count))
      for step in 1...2 {
        var values = gradient(rank: ranks.rank, step: step, count: count)
        let report = try run(exchange, step: step, count: count, &values)
        let expected = mean(exchange.layout, step: step, count: count)
        let what = "\(codec), \(count) values, step \(step)"
        try ranks.claimEqual(values, what)
        try claim(isClose(values, expected, codec), "\(what): expected the mean")
        try claim(
          (report.wireByteCount > 0) == (exchange.layout.leaders(ofPartitionOf: ranks.rank).count > 1),
          "\(what): \(report.wireByteCount) bytes sent")
      }
    }
  }
}

/// Odd and even ranks exchange gradients of their own, while all exchange others over the communicator they come from;
/// each subset is split once more.
func splitCommunicatorsExchange(_ ranks: Ranks) throws {
  let count = 1000
  let rank = ranks.rank
  let members = (0..<ranks.rankCount).filter { $0 % 2 == rank % 2 }
  let subset = try ranks.thread.run { [world = ranks.world] in
    try world.gradients.split(color: -(world.gradients.rank % 2))
  }
  try claim(
    members[subset.rank] == rank && subset.rankCount == members.count, "rank \(subset.rank) of odd or even")
  try claim(subset.jobRanks == members, "job ranks: \(subset.jobRanks)")
  try claim(
    subset.hostNames == members.map { ranks.world.control.hostNames[$0] }, "hosts: \(subset.hostNames)")
  try claim(subset.layout == ranks.world.control.layout.subset(members), "layout")

  let all = try ranks.exchange(.int8, ranges: ranges(count: count))
  let own = try GradientExchange(
    communicator: subset, thread: ranks.thread, elementCount: count, ranges: ranges(count: count),
    configuration: ExchangeConfiguration(
      codec: .uncompressed, bucketByteCount: 4096, ranksPerNode: ranks.ranksPerNode))
  for step in 1...2 {
    var values = gradient(rank: rank, step: step, count: count)
    var ownValues = values
    _ = try run(all, step: step, count: count, &values)
    _ = try run(own, step: step, count: count, &ownValues)
    try ranks.claimEqual(values, "all, step \(step)")
    try claim(isClose(values, mean(all.layout, step: step, count: count), .int8), "expected the mean of all")
    let expected = mean(own.layout, step: step, count: count, ranks: members)
    try claim(ownValues == expected, "step \(step): expected the mean of ranks \(members)")
  }
  try ranks.thread.run {
    let single = try subset.split(color: subset.rank)
    try claim(single.rankCount == 1 && single.jobRanks == [rank], "a subset of one: \(single.jobRanks)")
    try single.barrier("alone")
    try claim(try subset.sum("ranks", [Double(rank)]) == [Double(members.reduce(0, +))], "sum of a subset")
  }
}

func rowsAreAdded(_ ranks: Ranks) throws {
  let (width, rowCount) = (8, 100)
  let table = [ExchangeRange(range: 0..<width * rowCount, blockLength: width, name: "table")]
  let exchange = try ranks.exchange(
    .uncompressed, ranges: table,
    rows: SparseRows(offset: 0, width: width, rowCount: rowCount, maximumRowCount: 3))
  for step in 1...3 {
    var values = gradient(rank: ranks.rank, step: step, count: width * rowCount)
    var expected = mean(exchange.layout, step: step, count: values.count)
    for rank in 0..<ranks.rankCount {
      for id in rowIdentifiers(rank: rank, step: step) {
        for column in 0..<width {
          expected[id * width + column] += Float(rank + step) / Float(ranks.rankCount)
        }
      }
    }
    let ids = rowIdentifiers(rank: ranks.rank, step: step).map { Int32($0) }
    let rows = [Float](repeating: Float(ranks.rank + step), count: ids.count * width)
    _ = try run(exchange, step: step, count: values.count, &values, ids: ids, rows: rows)
    // A node adds its rows before they are divided.
    let isRight = exchange.layout.isFlat ? values == expected : isClose(values, expected, tolerance: 1e-6)
    try claim(isRight, "step \(step): expected mean and mean rows")
  }
}

/// Rows 4, 5 and one more; none for rank 1, and none at all in the third step.
private func rowIdentifiers(rank: Int, step: Int) -> [Int] {
  rank == 1 || step == 3 ? [] : [4, 5, 10 + rank]
}

func flushSendsExactly(_ ranks: Ranks) throws {
  let count = 1000
  let exchange = try ranks.exchange(.int8, ranges: ranges(count: count))
  var applied = [Double](repeating: 0, count: count)
  var owed = applied
  for step in 1...5 {
    var values = gradient(rank: ranks.rank, step: step, count: count)
    _ = try run(exchange, step: step, flushing: step == 5, count: count, &values)
    for (index, value) in mean(exchange.layout, step: step, count: count).enumerated() {
      applied[index] += Double(values[index])
      owed[index] += Double(value)
    }
    try claim(
      exchange.residualsAreZero == (step == 5 || exchange.layout.nodeCount == 1),
      "step \(step): zero after a flush only")
  }
  let worst = zip(applied, owed).reduce(0) { max($0, abs($1.0 - $1.1)) }
  try claim(worst < 1e-6, "expected all of the gradient to be applied, \(worst) is missing")
}

func residualsAreSavedAndRestored(_ ranks: Ranks) throws {
  let count = 1000
  let control = ranks.world.control
  let exchange = try ranks.exchange(.int8, ranges: ranges(count: count))
  var values = gradient(rank: ranks.rank, step: 1, count: count)
  _ = try run(exchange, step: 1, count: count, &values)
  var saved: [ResidualPart: [Float]] = [:]
  try exchange.gatherResiduals(over: control, to: 0) { saved[$0] = Array($1) }
  let isSaved = ranks.rank == 0 && exchange.layout.nodeCount > 1
  try claim(saved.count == (isSaved ? ranks.rankCount + 1 : 0), "found \(saved.count) residual arrays")
  let restored = try ranks.exchange(.int8, ranges: ranges(count: count))
  let source =
    isSaved
    ? SavedResiduals(rankCount: ranks.rankCount, nodeOfRank: exchange.layout.nodeOfRank) { saved[$0] ?? [] }
    : nil
  try restored.restoreResiduals(source, over: control, from: 0)
  var savedAgain: [ResidualPart: [Float]] = [:]
  try restored.gatherResiduals(over: control, to: 0) { savedAgain[$0] = Array($1) }
  try claim(savedAgain == saved, "expected the same residuals")
}

func wrongStepIsRefused(_ ranks: Ranks) throws {
  let exchange = try ranks.exchange(.int8, ranges: ranges(count: 1000))
  var values = gradient(rank: ranks.rank, step: 1, count: 1000)
  _ = try run(exchange, step: ranks.rank == 1 ? 13 : 12, count: 1000, &values)
}

func stoppedRankIsNamed(_ ranks: Ranks) throws {
  let limits = StallLimits(warnSeconds: 0.3, abortSeconds: 1) { print("late: \($0)") }
  let exchange = try GradientExchange(
    communicator: ranks.world.gradients, thread: ranks.thread, elementCount: 1000,
    ranges: ranges(count: 1000),
    configuration: ExchangeConfiguration(codec: .int8, ranksPerNode: 1, stallLimits: limits))
  if ranks.rank == 1 { stopThisProcess() }
  var values = gradient(rank: ranks.rank, step: 1, count: 1000)
  _ = try run(exchange, step: 1, count: 1000, &values)
}

/// One whole step.
private func run(
  _ exchange: GradientExchange, step: Int, flushing: Bool = false, count: Int, _ values: inout [Float],
  ids: [Int32]? = nil, rows: [Float] = []
) throws -> ExchangeReport {
  try values.withUnsafeMutableBufferPointer { buffer in
    guard let gradient = buffer.baseAddress else { return try exchange.finish() }
    return try rows.withUnsafeBufferPointer { rows in
      try (ids ?? []).withUnsafeBufferPointer { identifiers in
        exchange.begin(step: step, flushing: flushing, gradient: gradient)
        for range in ids == nil ? ranges(count: count).reversed().map(\.range) : [0..<count] {
          try exchange.submit(range: range)
        }
        if ids != nil {
          try exchange.submitRows(ids: identifiers, rows: rows.baseAddress ?? UnsafePointer(gradient))
        }
        let report = try exchange.finish()
        exchange.commit()
        return report
      }
    }
  }
}

/// Whether each value is within what two roundings of the codec, and what an earlier step owed, can change.
private func isClose(_ values: [Float], _ expected: [Float], _ codec: Codec) -> Bool {
  let tolerance: Float =
    switch codec {
    case .uncompressed, .lossless: 0
    case .bfloat16: 4 / 256
    case .int8: 4 / 254
    case .int4: 4 / 14
    }
  return isClose(values, expected, tolerance: tolerance)
}

private func isClose(_ values: [Float], _ expected: [Float], tolerance: Float) -> Bool {
  zip(values, expected).allSatisfy { abs($0 - $1) <= tolerance }
}
