import Communication
import Tensors
import TestSupport
import Testing

/// What the exchanges state that they send is what they send: messages are counted where they leave a rank.
@Suite(.timeLimit(.minutes(5))) struct ExchangeTrafficTests {
  private static let ranges = [
    ExchangeRange(range: 0..<1152, blockLength: 8, name: "table"),
    ExchangeRange(range: 1152..<1920, blockLength: 8, name: "vector"),
  ]
  private static let bucketElementCount = 384

  /// Bits that no compression shortens.
  private static func incompressible(_ seed: Int, count: Int) -> [Float] {
    (0..<count).map { Float(bitPattern: noise(seed, $0).bitPattern &* 747_796_405) }
  }

  /// Ranks, and how many of them share a node.
  @Test(arguments: [(1, 1), (2, 1), (3, 1), (4, 1), (4, 2), (6, 2), (3, 3)])
  func theDenseExchangeSendsWhatItStates(_ shape: (rankCount: Int, ranksPerNode: Int)) throws {
    let elementCount = Self.ranges[1].range.upperBound
    let counted = try onLocalRanks(shape.rankCount, ranksPerNode: shape.ranksPerNode) {
      communicator, thread in
      let counting = CountingCommunicator(communicator)
      let exchange = try GradientExchange(
        communicator: counting, thread: thread, elementCount: elementCount, ranges: Self.ranges,
        configuration: ExchangeConfiguration(
          codec: .uncompressed, bucketByteCount: 4 * Self.bucketElementCount))
      var values = Self.incompressible(communicator.rank, count: elementCount)
      try values.withUnsafeMutableBufferPointer { buffer in
        exchange.begin(step: 1, flushing: false, gradient: try #require(buffer.baseAddress))
        for range in Self.ranges { try exchange.submit(range: range.range) }
        let report = try exchange.finish()
        #expect(Double(report.wireByteCount) == counting.traffic.byteCount)
        exchange.commit()
      }
      return counting.traffic
    }
    // All chunks have the same size: a header of 64 bytes, a section count of 8, and the floats.
    let chunkElementCount = Double(Self.bucketElementCount / shape.rankCount)
    let model = ExchangeModel(
      ranges: Self.ranges, rows: nil, bucketByteCount: 4 * Self.bucketElementCount,
      layout: NodeLayout(nodeOfRank: (0..<shape.rankCount).map { $0 / shape.ranksPerNode }))
    let stated = (0..<2).reduce(ExchangeTraffic()) {
      $0 + model.traffic(ofRange: $1, byteCountPerElement: 4 + 72 / chunkElementCount)
    }
    for traffic in counted {
      #expect(traffic.roundCount == stated.roundCount && traffic.messageCount == stated.messageCount)
      #expect(abs(traffic.byteCount - stated.byteCount) < 0.1, "\(traffic) \(stated)")
    }
  }

  @Test(arguments: [(2, 1), (3, 1), (4, 2)])
  func sparseRowsAreSentAsStated(_ shape: (rankCount: Int, ranksPerNode: Int)) throws {
    let (width, rowCount, own) = (64, 400, 50)
    let rows = SparseRows(offset: 0, width: width, rowCount: rowCount, maximumRowCount: own)
    let table = [ExchangeRange(range: 0..<width * rowCount, blockLength: width, name: "table")]
    let layout = NodeLayout(nodeOfRank: (0..<shape.rankCount).map { $0 / shape.ranksPerNode })
    let counted = try onLocalRanks(shape.rankCount, ranksPerNode: shape.ranksPerNode) {
      communicator, thread in
      let counting = CountingCommunicator(communicator)
      let exchange = try GradientExchange(
        communicator: counting, thread: thread, elementCount: width * rowCount, ranges: table, rows: rows,
        configuration: ExchangeConfiguration(codec: .uncompressed))
      var values = [Float](repeating: 0, count: width * rowCount)
      let ids = (0..<own).map { Int32($0 * shape.rankCount + communicator.rank) }
      let gradients = (0..<own * width).map { noise(communicator.rank, $0) }
      return try values.withUnsafeMutableBufferPointer { buffer in
        exchange.begin(step: 1, flushing: false, gradient: try #require(buffer.baseAddress))
        try exchange.submit(range: table[0].range)
        let dense = try thread.run { counting.traffic }
        try ids.withUnsafeBufferPointer { ids in
          try gradients.withUnsafeBufferPointer {
            try exchange.submitRows(ids: ids, rows: try #require($0.baseAddress))
            _ = try exchange.finish()
          }
        }
        let all = counting.traffic
        return ExchangeTraffic(
          roundCount: all.roundCount - dense.roundCount, messageCount: all.messageCount - dense.messageCount,
          byteCount: all.byteCount - dense.byteCount)
      }
    }
    let model = ExchangeModel(ranges: table, rows: rows, bucketByteCount: 1 << 24, layout: layout)
    let stated = model.rowTraffic(rowElementCount: Double(own * width))
    for (rank, traffic) in counted.enumerated() {
      guard layout.localIndex(of: rank) == 0 else {
        #expect(traffic == ExchangeTraffic(), "only the first rank of a node sends rows")
        continue
      }
      #expect(traffic.roundCount == stated.roundCount && traffic.messageCount == stated.messageCount)
      #expect(abs(traffic.byteCount / stated.byteCount - 1) < 0.15, "\(traffic) \(stated)")
    }
  }

  private static let (rowCount, width) = (24, 5)

  private func onOwners(
    _ count: Int, _ body: @escaping @Sendable (ShardExchange, RowShard) throws -> Void
  ) throws -> [ExchangeTraffic] {
    try onLocalRanks(count) { communicator, thread in
      let counting = CountingCommunicator(communicator)
      let shard = RowShard(rowCount: Self.rowCount, blockLength: 4, index: communicator.rank, count: count)
      let exchange = ShardExchange(
        shard, owners: Array(0..<count), width: Self.width, maximumRowCount: Self.rowCount,
        maximumElementCount: 120, communicator: counting, thread: thread)
      exchange.begin(step: 1, limits: nil, isTraced: false)
      try body(exchange, shard)
      #expect(Double(exchange.cost.wireByteCount) == counting.traffic.byteCount)
      return counting.traffic
    }
  }

  private func expectEqual(_ counted: ExchangeTraffic, _ stated: ExchangeTraffic) {
    #expect(
      counted.roundCount == stated.roundCount && counted.messageCount == stated.messageCount
        && counted.byteCount == stated.byteCount, "\(counted) \(stated)")
  }

  /// A chunk of 120 ÷ ranks floats for each.
  private static func chunks(_ count: Int) -> [Range<Int>] {
    (0..<count).map { 120 / count * $0..<120 / count * ($0 + 1) }
  }

  @Test(arguments: 1...4) func shardCollectivesSendWhatTheyState(count: Int) throws {
    let traffic = ShardTraffic(ownerCount: count, width: Self.width)
    let (own, others) = (Double(120 / count), Double(120 - 120 / count))
    let operations:
      [(ExchangeTraffic, @Sendable (ShardExchange, UnsafeMutablePointer<Float>) throws -> Void)] = [
        (traffic.allGather(chunk: own), { try $0.allGather("z", $1, chunks: Self.chunks(count)) }),
        (
          traffic.allToAll(otherChunks: others),
          { _ = try $0.allToAll("sums", $1, chunks: Self.chunks(count)) }
        ),
        (
          traffic.allToAll(otherChunks: others),
          {
            var sum = [Float](repeating: 0, count: 120 / count)
            try $0.reduceScatter("gradient", $1, chunks: Self.chunks(count), factor: 1, into: &sum)
          }
        ),
      ]
    for (stated, operation) in operations {
      let counted = try onOwners(count) { exchange, shard in
        var all = Self.incompressible(shard.index, count: 120)
        try all.withUnsafeMutableBufferPointer { try operation(exchange, #require($0.baseAddress)) }
      }
      for counted in counted { expectEqual(counted, stated) }
    }
  }

  /// Every rank looks up all rows, so each owner sends all of its shard to each other, and gets back as many gradients.
  @Test(arguments: 1...4) func lookedUpRowsAndTheirGradientsAreSentAsStated(count: Int) throws {
    let traffic = ShardTraffic(ownerCount: count, width: Self.width)
    let ids = (0..<Int32(Self.rowCount)).map { $0 }
    let fetched = try onOwners(count) { exchange, shard in
      var table = Self.incompressible(shard.index, count: Self.rowCount * Self.width)
      try ids.withUnsafeBufferPointer { ids in
        try table.withUnsafeMutableBufferPointer {
          try exchange.fetchRows(Array(repeating: ids, count: count), into: #require($0.baseAddress))
        }
      }
    }
    let reduced = try onOwners(count) { exchange, shard in
      let rows = Self.incompressible(shard.index, count: Self.rowCount * Self.width)
      var gradient = [Float](repeating: 0, count: Self.rowCount * Self.width)
      try ids.withUnsafeBufferPointer { ids in
        try gradient.withUnsafeMutableBufferPointer {
          try exchange.reduceRows(ids: ids, rows: rows, divisor: 1, addingTo: #require($0.baseAddress))
        }
      }
    }
    for index in 0..<count {
      let own = RowShard(rowCount: Self.rowCount, blockLength: 4, index: index, count: count).ownRowCount
      expectEqual(fetched[index], traffic.fetchRows(Double(own * (count - 1))))
      expectEqual(reduced[index], traffic.reduceRows(Double(Self.rowCount - own)))
    }
  }
}
