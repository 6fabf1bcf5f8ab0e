import CKernels
import Platform

/// The exchange of a gradient that touches few rows of a matrix: all ranks get all nodes' rows.
///
/// The ranks of a node put theirs together in shared memory; its first rank sends them, and hands on
/// what other nodes sent. Two exact frames a node: the row numbers, carried bit by bit as if they were floats,
/// then the rows.
///
/// `@unchecked Sendable`: what jobs read is set before they are submitted.
final class RowExchange: @unchecked Sendable {
  let offset: Int
  let width: Int
  /// The whole matrix.
  let range: Range<Int>
  /// The most rows one rank can touch.
  let maximumRowCount: Int
  /// The most rows all ranks of a node can touch.
  let maximumNodeRowCount: Int
  private let matrixRowCount: Int
  private let name: String
  private let index: Int
  private let outgoing: AlignedBuffer
  private let incoming: AlignedBuffer
  private let capacity: Int
  private let rowIdentifiers: FloatBuffer
  private var own = RowSet()

  /// Rows of the range that begins at their offset; `bucketCount` is the first number no bucket has.
  init(_ sparse: SparseRows, ranges: [ExchangeRange], layout: NodeLayout, bucketCount: Int) {
    guard let matrix = ranges.first(where: { $0.range.lowerBound == sparse.offset }) else {
      preconditionFailure("no range begins where the sparse rows do: \(sparse.offset)")
    }
    precondition(
      ranges.contains { $0.range.upperBound >= sparse.range.upperBound },
      "ranges hold the rows of \(matrix.name)")
    range = sparse.range
    offset = sparse.offset
    width = sparse.width
    maximumRowCount = sparse.maximumRowCount
    maximumNodeRowCount = max(
      min(sparse.maximumRowCount * layout.largestNodeSize, sparse.rowCount), sparse.maximumRowCount)
    matrixRowCount = sparse.rowCount
    name = matrix.name
    index = bucketCount
    capacity =
      FrameCoder.frameCapacity(elementCount: maximumNodeRowCount)
      + FrameCoder.frameCapacity(elementCount: maximumNodeRowCount * width)
    outgoing = AlignedBuffer(byteCount: capacity)
    incoming = AlignedBuffer(byteCount: capacity * layout.nodeCount)
    rowIdentifiers = FloatBuffer(count: maximumNodeRowCount)
  }

  /// The most elements one of its frames can have.
  var maximumElementCount: Int { maximumNodeRowCount * width }
  /// What a rank's contribution takes in its node's shared memory.
  var contributionByteCount: Int { RowSet.byteCount(rowCount: maximumRowCount, width: width) }
  /// What a node's rows take there.
  var nodeByteCount: Int { RowSet.byteCount(rowCount: maximumNodeRowCount, width: width) }

  /// Sets what this rank sends in this step.
  func set(ids: UnsafeBufferPointer<Int32>, rows: UnsafePointer<Float>) {
    precondition(ids.count <= maximumRowCount, "at most \(maximumRowCount) rows a step, not \(ids.count)")
    own = RowSet(ids: ids, rows: rows)
  }

  /// Runs on the communication thread.
  func exchange(_ exchange: GradientExchange, report: inout ExchangeReport) throws {
    report.trace?.note(operation(.rows, exchange), floatByteCount: 4 * own.ids.count * width)
    guard let node = exchange.node else {
      try exchangeBetweenNodes(own, exchange, &report) { rows, sender, _ in
        try self.add(rows, from: sender, exchange)
      }
      return
    }
    let operation = operation(.rows, exchange)
    report.timing(\.decodeSeconds) { _ in
      own.write(to: node.contribution(of: node.shared.localIndex), width: width, capacity: maximumRowCount)
    }
    try exchange.meet(node, operation, &report)
    guard node.shared.localIndex == 0 else {
      for sender in exchange.layout.nodes.map({ $0[0] }) {
        try takeOver(from: sender, node, exchange, &report)
      }
      return
    }
    let rows = report.timing(\.decodeSeconds) { _ in merge(node) }
    try exchangeBetweenNodes(rows, exchange, &report) { rows, sender, report in
      rows.write(to: node.result(of: 0), width: self.width, capacity: self.maximumNodeRowCount)
      try self.takeOver(from: sender, node, exchange, &report)
    }
  }

  /// Adds what the node's first rank has laid out, while it lies there.
  private func takeOver(
    from sender: Int, _ node: NodeMemory, _ exchange: GradientExchange, _ report: inout ExchangeReport
  ) throws {
    try exchange.meet(node, operation(.rows, exchange), &report)
    let rows = RowSet(at: node.result(of: 0), width: width, capacity: maximumNodeRowCount)
    try report.timing(\.decodeSeconds) { _ in try add(rows, from: sender, exchange) }
    try exchange.meet(node, operation(.rows, exchange), &report)
  }

  /// The rows of all ranks of the node, those of one word added in the order of ranks.
  private func merge(_ node: NodeMemory) -> RowSet {
    let sets = node.shared.areas.indices.map {
      RowSet(at: node.contribution(of: $0), width: width, capacity: maximumRowCount)
    }
    return RowSet.merging(sets, width: width, into: node.mergedRows, capacity: maximumNodeRowCount)
  }

  /// Sends a node's rows to all others and gives all nodes' rows to `take`, in the order of nodes.
  private func exchangeBetweenNodes(
    _ rows: RowSet, _ exchange: GradientExchange, _ report: inout ExchangeReport,
    take: (RowSet, Int, inout ExchangeReport) throws -> Void
  ) throws {
    let communicator = exchange.communicator
    let peers = exchange.peers
    guard peers.count > 1 else { return try take(rows, communicator.rank, &report) }
    let own = try report.timing(\.encodeSeconds) { _ in try encode(rows, exchange) }
    let slots = peers.indices.map { incoming.slice(from: $0 * capacity, byteCount: capacity) }
    report.trace?.note(operation(.rows, exchange), sentByteCount: own.count * (peers.count - 1))
    let byteCounts = try report.timing(\.wireSeconds) { _ in
      try communicator.exchange(
        operation(.rows, exchange), with: peers, outgoing: Array(repeating: own, count: peers.count),
        incoming: slots, limits: exchange.step.limits)
    }
    report.count(
      elementCount: rows.ids.count * (width + 1), byteCount: own.count, times: peers.count - 1)
    for (index, sender) in peers.enumerated() {
      let blob = UnsafeRawBufferPointer(rebasing: slots[index][..<byteCounts[index]])
      let rows = try report.timing(\.decodeSeconds) { _ in
        try decode(sender == communicator.rank ? own : blob, from: sender, exchange)
      }
      try take(rows, sender, &report)
    }
  }

  private func encode(_ rows: RowSet, _ exchange: GradientExchange) throws -> UnsafeRawBufferPointer {
    let target = outgoing.bytes
    let coder = exchange.workspace.coder
    rowIdentifiers.mutableBytes.copyMemory(from: UnsafeRawBufferPointer(rows.ids))
    let first = try coder.encode(
      rowIdentifiers.start, as: frame(.rowIdentifiers, rows.ids.count, exchange), into: target,
      price: exchange.price)
    let rest = UnsafeMutableRawBufferPointer(rebasing: target[first...])
    let second = try coder.encode(
      rows.rows ?? UnsafePointer(rowIdentifiers.start),
      as: frame(.rows, rows.ids.count * width, exchange), into: rest, price: exchange.price)
    return UnsafeRawBufferPointer(rebasing: target[..<(first + second)])
  }

  /// One node's rows, which stay until the next are decoded.
  private func decode(
    _ blob: UnsafeRawBufferPointer, from sender: Int, _ exchange: GradientExchange
  ) throws -> RowSet {
    let (first, second) = try split(blob, sender, exchange)
    let rowCount = try exchange.decode(
      first, expecting: expectation(.rowIdentifiers, 0...maximumNodeRowCount, sender, exchange),
      into: rowIdentifiers.start)
    let elementCount = rowCount * width
    let rows = exchange.workspace.decoded.start
    _ = try exchange.decode(
      second, expecting: expectation(.rows, elementCount...elementCount, sender, exchange), into: rows)
    let ids = UnsafeRawPointer(rowIdentifiers.start).assumingMemoryBound(to: Int32.self)
    return RowSet(ids: UnsafeBufferPointer(start: ids, count: rowCount), rows: rows)
  }

  /// Adds one node's rows ÷ the number of ranks to the gradient.
  private func add(_ set: RowSet, from sender: Int, _ exchange: GradientExchange) throws {
    guard let rows = set.rows else { return }
    let matrix = exchange.gradient(offset..<offset)
    let divisor = Float(exchange.communicator.rankCount)
    var previous: Int32 = -1
    for (row, id) in set.ids.enumerated() {
      guard id > previous && id < matrixRowCount else {
        throw MilmError(
          "frame from \(exchange.communicator.label(of: sender)) at \(operation(.rowIdentifiers, exchange)): "
            + "expected a row after \(previous) and below \(matrixRowCount), found \(id)")
      }
      previous = id
      CKernels_codecAddQuotients(matrix + Int(id) * width, rows + row * width, divisor, width)
    }
  }

  /// The two frames of a blob; the first says where it ends.
  private func split(
    _ blob: UnsafeRawBufferPointer, _ sender: Int, _ exchange: GradientExchange
  ) throws -> (UnsafeRawBufferPointer, UnsafeRawBufferPointer) {
    guard let end = FrameHeader.frameByteCount(atFrontOf: blob) else {
      throw MilmError(
        "frame from \(exchange.communicator.label(of: sender)) at \(operation(.rowIdentifiers, exchange)): "
          + "expected two frames, found \(blob.count) bytes that hold no first one")
    }
    return (UnsafeRawBufferPointer(rebasing: blob[..<end]), UnsafeRawBufferPointer(rebasing: blob[end...]))
  }
}

extension RowExchange {
  private func operation(
    _ phase: CollectiveOperation.Phase, _ exchange: GradientExchange
  ) -> CollectiveOperation {
    CollectiveOperation(name: name, phase: phase, step: exchange.step.number, index: index)
  }

  private func frame(
    _ phase: CollectiveOperation.Phase, _ elementCount: Int, _ exchange: GradientExchange
  ) -> FrameDescription {
    FrameDescription(
      codec: .lossless, operation: operation(phase, exchange), sender: exchange.communicator.rank,
      elementCount: elementCount, blockLength: 1)
  }

  private func expectation(
    _ phase: CollectiveOperation.Phase, _ elementCounts: ClosedRange<Int>, _ sender: Int,
    _ exchange: GradientExchange
  ) -> FrameExpectation {
    FrameExpectation(
      codec: .lossless, operation: operation(phase, exchange), sender: sender, elementCounts: elementCounts,
      blockLength: 1)
  }
}
