import Communication
import Platform
import Tensors
import TestSupport
import Testing

/// Collectives of the owners of a matrix's rows; with three owners the last has no row.
@Suite(.timeLimit(.minutes(5))) struct ShardExchangeTests {
  private static let (rowCount, width) = (7, 3)

  private func shard(_ index: Int, of count: Int) -> RowShard {
    RowShard(rowCount: Self.rowCount, blockLength: 4, index: index, count: count)
  }

  /// `others` ranks without a shard, then the owners.
  private func onOwners<Value: Sendable>(
    _ count: Int, others: Int = 0, _ body: @escaping @Sendable (ShardExchange) throws -> Value
  ) throws -> [Value] {
    try onLocalRanks(count + others) { communicator, thread -> Value? in
      guard communicator.rank >= others else { return nil }
      let exchange = ShardExchange(
        shard(communicator.rank - others, of: count), owners: Array(others..<others + count),
        width: Self.width,
        maximumRowCount: 5, maximumElementCount: 12, communicator: communicator, thread: thread)
      exchange.begin(step: 4, limits: nil, isTraced: false)
      return try body(exchange)
    }.compactMap { $0 }
  }

  private static func value(row: Int, column: Int) -> Float { Float(10 * row + column) }

  @Test(arguments: [1, 2, 3], [0, 1]) func rowsComeFromTheirOwners(count: Int, others: Int) throws {
    let ids: [[Int32]] = [[0, 3, 4, 6], [2], [1, 5, 6]]
    let tables = try onOwners(count, others: others) { exchange in
      var table = [Float](repeating: -1, count: Self.rowCount * Self.width)
      for row in 0..<Self.rowCount where exchange.shard.contains(row) {
        for column in 0..<Self.width {
          table[row * Self.width + column] = Self.value(row: row, column: column)
        }
      }
      try withBuffers(Array(ids[..<count])) { ids in
        try table.withUnsafeMutableBufferPointer {
          try exchange.fetchRows(ids, into: #require($0.baseAddress))
        }
      }
      return table
    }
    for (index, table) in tables.enumerated() {
      for row in 0..<Self.rowCount {
        let isThere = shard(index, of: count).contains(row) || ids[index].contains(Int32(row))
        for column in 0..<Self.width {
          #expect(
            table[row * Self.width + column] == (isThere ? Self.value(row: row, column: column) : -1),
            "row \(row) of shard \(index)")
        }
      }
    }
  }

  /// A chunk of four floats for the first, and of three for all others.
  private static func chunks(_ count: Int) -> [Range<Int>] {
    (0..<count).map { $0 == 0 ? 0..<4 : 1 + 3 * $0..<4 + 3 * $0 }
  }

  @Test(arguments: [1, 2, 3]) func allGatherGivesAllChunksInOrder(count: Int) throws {
    let gathered = try onOwners(count) { exchange in
      var all = [Float](repeating: -1, count: 1 + 3 * count)
      for place in Self.chunks(count)[exchange.shard.index] { all[place] = Float(place) }
      try all.withUnsafeMutableBufferPointer {
        try exchange.allGather("z", #require($0.baseAddress), chunks: Self.chunks(count))
      }
      return all
    }
    #expect(gathered.allSatisfy { $0 == (0...3 * count).map(Float.init) })
  }

  @Test(arguments: [1, 2, 3]) func allToAllGivesEachRankItsChunkOfAll(count: Int) throws {
    let swapped = try onOwners(count) { exchange in
      var all = (0...3 * count).map { Float(100 * exchange.shard.index + $0) }
      return try all.withUnsafeMutableBufferPointer { all in
        let own = Self.chunks(count)[exchange.shard.index].count
        return try exchange.allToAll("sums", #require(all.baseAddress), chunks: Self.chunks(count)).map {
          Array(UnsafeBufferPointer(start: $0, count: own))
        }
      }
    }
    for (own, parts) in swapped.enumerated() {
      #expect(parts == (0..<count).map { from in Self.chunks(count)[own].map { Float(100 * from + $0) } })
    }
  }

  /// With these numbers any other order of addition rounds differently.
  @Test(arguments: [1, 2, 3]) func reduceScatterAddsInTheOrderOfShards(count: Int) throws {
    @Sendable func term(_ from: Int, _ place: Int) -> Float {
      Float([1e8, 1, -1e8][from]) + Float(place) * 0.3
    }
    let sums = try onOwners(count) { exchange in
      let index = exchange.shard.index
      var all = (0...3 * count).map { term(index, $0) }
      var own = [Float](repeating: 0, count: Self.chunks(count)[index].count)
      try all.withUnsafeMutableBufferPointer { all in
        try own.withUnsafeMutableBufferPointer {
          try exchange.reduceScatter(
            "gradient", #require(all.baseAddress), chunks: Self.chunks(count), factor: 2,
            into: #require($0.baseAddress))
        }
      }
      return own
    }
    for (to, sum) in sums.enumerated() {
      let expected = Self.chunks(count)[to].map { place in
        2 * (1..<count).reduce(term(0, place)) { $0 + term($1, place) }
      }
      #expect(sum == expected, "shard \(to) of \(count)")
    }
  }

  @Test(arguments: [1, 2, 3]) func gradientsOfRowsReachTheirOwners(count: Int) throws {
    let ids: [[Int32]] = [[0, 3, 4, 6], [], [4, 5]]
    let gradients = try onOwners(count) { exchange in
      let own = ids[exchange.shard.index]
      let rows = own.flatMap { id in
        (0..<Self.width).map { Float(id) + Float($0) + Float(exchange.shard.index) }
      }
      var gradient = [Float](repeating: 0.5, count: Self.rowCount * Self.width)
      try gradient.withUnsafeMutableBufferPointer { gradient in
        try withBuffers([own]) { ids in
          try exchange.reduceRows(
            ids: ids[0], rows: rows + [0], divisor: 4, addingTo: #require(gradient.baseAddress))
        }
      }
      return gradient
    }
    for row in 0..<Self.rowCount {
      let owner = shard(0, of: count).shardIndex(ofRow: row)
      for column in 0..<Self.width {
        let expected = (0..<count).filter { ids[$0].contains(Int32(row)) }.reduce(Float(0.5)) {
          $0 + (Float(row) + Float(column) + Float($1)) / 4
        }
        #expect(gradients[owner][row * Self.width + column] == expected, "row \(row)")
      }
    }
  }

  @Test func aFrameOfAnotherStepIsRefused() throws {
    let error = #expect(throws: MilmError.self) {
      try onOwners(2) { exchange in
        if exchange.shard.index == 1 { exchange.begin(step: 5, limits: nil, isTraced: false) }
        var all = [Float](repeating: 0, count: 8)
        try all.withUnsafeMutableBufferPointer {
          try exchange.allGather("z", #require($0.baseAddress), chunks: Self.chunks(2))
        }
      }
    }
    #expect(error?.description.contains("step: expected") == true)
  }

  @Test func everyRowIsInOneShard() {
    for (rowCount, count) in [(0, 2), (1, 3), (7, 2), (8, 2), (9, 2), (100, 7)] {
      let shards = (0..<count).map { RowShard(rowCount: rowCount, blockLength: 4, index: $0, count: count) }
      let rows = shards.flatMap { $0.blocks.flatMap(Array.init) }
      #expect(rows.sorted() == Array(0..<rowCount))
      for shard in shards {
        #expect(shard.blocks.allSatisfy { $0.allSatisfy(shard.contains) })
        #expect(shard.ownRowCount == shard.blocks.reduce(0) { $0 + $1.count })
      }
    }
  }
}

/// The arrays as buffers that stay while `body` runs.
private func withBuffers(
  _ arrays: [[Int32]], _ body: ([UnsafeBufferPointer<Int32>]) throws -> Void
) rethrows {
  let copies = arrays.map { array in
    let copy = UnsafeMutableBufferPointer<Int32>.allocate(capacity: array.count)
    _ = copy.initialize(from: array)
    return copy
  }
  defer { copies.forEach { $0.deallocate() } }
  try body(copies.map { UnsafeBufferPointer($0) })
}
