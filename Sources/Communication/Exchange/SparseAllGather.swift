import CKernels
import Tensors

/// The all-gather of a gradient that touches few rows of a matrix: every rank adds the mean of all ranks' rows.
///
/// The ranks of a node merge their rows in shared memory; its first rank exchanges them with those of other nodes, and publishes
/// to the node what it received. A message is two exact frames: the row numbers, bit patterns as floats, then the rows.
///
/// `@unchecked Sendable`: what jobs read is set before they are submitted.
final class SparseAllGather: @unchecked Sendable {
  private let rows: SparseRows
  private let name: String
  private let index: Int
  private let maximumNodeRowCount: Int
  private let communicator: any Communicator
  private let channel: FrameChannel
  private let rowNumbers: FloatBuffer
  private var own = RowSet()

  /// The exact codec of its frames.
  private static let format = FrameFormat(codec: .lossless, blockLength: 1)

  /// Rows of the range that begins at their offset; `operationIndex` is one that no bucket has.
  init(
    _ rows: SparseRows, ranges: [ExchangeRange], layout: NodeLayout, communicator: any Communicator,
    coder: FrameCoder, operationIndex: Int, in arena: Arena
  ) {
    guard let matrix = ranges.first(where: { $0.range.lowerBound == rows.offset }) else {
      preconditionFailure("no range begins where the sparse rows do: \(rows.offset)")
    }
    precondition(
      ranges.contains { $0.range.upperBound >= rows.range.upperBound },
      "ranges hold the rows of \(matrix.name)")
    self.rows = rows
    name = matrix.name
    index = operationIndex
    maximumNodeRowCount = Self.maximumNodeRowCount(rows, layout: layout)
    self.communicator = communicator
    channel = FrameChannel(
      communicator, peers: layout.leaders(ofPartitionOf: communicator.rank), coder: coder,
      frameElementCounts: [maximumNodeRowCount, maximumNodeRowCount * rows.width], outgoingCount: 1,
      in: arena)
    rowNumbers = FloatBuffer(count: maximumNodeRowCount, in: arena)
  }

  /// The most rows all ranks of a node can touch.
  private static func maximumNodeRowCount(_ rows: SparseRows, layout: NodeLayout) -> Int {
    max(min(rows.maximumRowCount * layout.largestNodeSize, rows.rowCount), rows.maximumRowCount)
  }

  /// The most elements one of its frames can have.
  static func maximumElementCount(_ rows: SparseRows, layout: NodeLayout) -> Int {
    maximumNodeRowCount(rows, layout: layout) * rows.width
  }

  /// The matrix's range of the flat gradient.
  var range: Range<Int> { rows.range }
  /// Bytes of a rank's rows in its node's shared memory.
  var contributionByteCount: Int { RowSet.byteCount(rowCount: rows.maximumRowCount, width: rows.width) }
  /// Bytes of a node's rows there.
  var nodeByteCount: Int { RowSet.byteCount(rowCount: maximumNodeRowCount, width: rows.width) }

  /// Sets the rows of this rank in this step.
  func set(ids: UnsafeBufferPointer<Int32>, rows values: UnsafePointer<Float>) {
    precondition(
      ids.count <= rows.maximumRowCount, "at most \(rows.maximumRowCount) rows per step, not \(ids.count)")
    own = RowSet(ids: ids, rows: values)
  }

  /// Adds the mean of all ranks' rows to the gradient of `exchange`; runs on the communication thread.
  func addMeanRows(_ exchange: GradientExchange, report: inout ExchangeReport) throws {
    let operation = operation(.rows, exchange)
    report.trace?.note(operation, floatByteCount: 4 * own.ids.count * rows.width)
    guard let node = exchange.node else {
      try gatherFromNodes(own, exchange, &report) { rows, sender, _ in
        try self.add(rows, from: sender, exchange)
      }
      return
    }
    report.timing(.decode) { _ in
      own.write(
        to: node.contribution(of: node.shared.localIndex), width: rows.width, capacity: rows.maximumRowCount)
    }
    try exchange.barrier(node, operation, &report)
    guard node.shared.localIndex == 0 else {
      for sender in exchange.layout.nodes.map({ $0[0] }) {
        try addPublishedRows(from: sender, node, exchange, &report)
      }
      return
    }
    let merged = report.timing(.decode) { _ in merge(node) }
    try gatherFromNodes(merged, exchange, &report) { set, sender, report in
      set.write(to: node.result(of: 0), width: self.rows.width, capacity: self.maximumNodeRowCount)
      try self.addPublishedRows(from: sender, node, exchange, &report)
    }
  }

  /// Adds the rows that the node's first rank has published, before it replaces them.
  private func addPublishedRows(
    from sender: Int, _ node: NodeMemory, _ exchange: GradientExchange, _ report: inout ExchangeReport
  ) throws {
    let operation = operation(.rows, exchange)
    try exchange.barrier(node, operation, &report)
    let published = RowSet(at: node.result(of: 0), width: rows.width, capacity: maximumNodeRowCount)
    try report.timing(.decode) { _ in try add(published, from: sender, exchange) }
    try exchange.barrier(node, operation, &report)
  }

  /// The rows of all ranks of the node; rows of the same number are added in the order of ranks.
  private func merge(_ node: NodeMemory) -> RowSet {
    let sets = node.shared.areas.indices.map {
      RowSet(at: node.contribution(of: $0), width: rows.width, capacity: rows.maximumRowCount)
    }
    return RowSet.merging(sets, width: rows.width, into: node.mergedRows, capacity: maximumNodeRowCount)
  }

  /// Sends a node's rows to all others and passes all nodes' rows to `body`, in the order of nodes.
  private func gatherFromNodes(
    _ own: RowSet, _ exchange: GradientExchange, _ report: inout ExchangeReport,
    _ body: (RowSet, Int, inout ExchangeReport) throws -> Void
  ) throws {
    guard channel.otherCount > 0 else { return try body(own, communicator.rank, &report) }
    let message = try report.timing(.encode) { _ in try encode(own, exchange) }
    let received = try channel.exchange(
      operation(.rows, exchange), Array(repeating: message, count: channel.peers.count),
      limits: exchange.step.limits, report: &report)
    for (index, sender) in channel.peers.enumerated() {
      let set = try report.timing(.decode) { _ in
        try decode(sender == communicator.rank ? message : received[index], from: sender, exchange)
      }
      try body(set, sender, &report)
    }
  }

  private func encode(_ set: RowSet, _ exchange: GradientExchange) throws -> FrameMessage {
    rowNumbers.mutableBytes.copyMemory(from: UnsafeRawBufferPointer(set.ids))
    let numbers = try channel.encode(
      rowNumbers.start, count: set.ids.count, as: Self.format, operation(.rowIdentifiers, exchange), into: 0,
      price: exchange.price)
    return try channel.encode(
      set.rows ?? UnsafePointer(rowNumbers.start), count: set.ids.count * rows.width, as: Self.format,
      operation(.rows, exchange), into: 0, after: numbers, price: exchange.price)
  }

  /// One node's rows, valid until the next ones are decoded.
  private func decode(
    _ message: FrameMessage, from sender: Int, _ exchange: GradientExchange
  ) throws -> RowSet {
    var message = message
    let numbers = operation(.rowIdentifiers, exchange)
    let first = try channel.removeFirstFrame(of: &message, from: sender, numbers)
    let rowCount = try channel.decode(
      first, from: sender, as: Self.format, numbers, elementCounts: 0...maximumNodeRowCount,
      into: rowNumbers.start)
    let elementCount = rowCount * rows.width
    try channel.decode(
      message, from: sender, as: Self.format, operation(.rows, exchange),
      elementCounts: elementCount...elementCount, into: exchange.decoded.start)
    let ids = UnsafeRawPointer(rowNumbers.start).assumingMemoryBound(to: Int32.self)
    return RowSet(ids: UnsafeBufferPointer(start: ids, count: rowCount), rows: exchange.decoded.start)
  }

  /// Adds one node's rows ÷ the number of ranks to the gradient.
  private func add(_ set: RowSet, from sender: Int, _ exchange: GradientExchange) throws {
    guard let values = set.rows else { return }
    let matrix = exchange.gradient(rows.range)
    let divisor = Float(communicator.rankCount)
    var previous: Int32 = -1
    for (position, id) in set.ids.enumerated() {
      guard id > previous && id < rows.rowCount else {
        throw channel.refusal(
          "expected a row after \(previous) and below \(rows.rowCount), found \(id)", from: sender,
          operation(.rowIdentifiers, exchange))
      }
      previous = id
      CKernels_codecAddQuotients(
        matrix + Int(id) * rows.width, values + position * rows.width, divisor, rows.width)
    }
  }

  private func operation(
    _ phase: MessageTag.Phase, _ exchange: GradientExchange
  ) -> MessageTag {
    MessageTag(name: name, phase: phase, step: exchange.step.number, index: index)
  }
}

/// Distinct rows of a matrix, in ascending order; it does not own its memory.
struct RowSet {
  private(set) var ids = UnsafeBufferPointer<Int32>(start: nil, count: 0)
  private(set) var rows: UnsafePointer<Float>?

  init() {}

  init(ids: UnsafeBufferPointer<Int32>, rows: UnsafePointer<Float>) {
    self.ids = ids
    self.rows = rows
  }

  /// A set that `write` has written for `capacity` rows.
  init(at memory: UnsafeRawPointer, width: Int, capacity: Int) {
    let count = Int(memory.load(as: Int32.self))
    precondition(count <= capacity, "at most \(capacity) rows, not \(count)")
    ids = UnsafeBufferPointer(start: Self.ids(in: memory), count: count)
    rows = Self.rows(in: memory, capacity: capacity)
  }

  /// Bytes of row numbers and rows.
  static func byteCount(rowCount: Int, width: Int) -> Int {
    headerByteCount + identifierByteCount(rowCount) + 4 * rowCount * width
  }

  /// Writes the set to memory for `capacity` rows: the count, the row numbers, the rows.
  func write(to memory: UnsafeMutableRawPointer, width: Int, capacity: Int) {
    memory.storeBytes(of: Int32(ids.count), as: Int32.self)
    guard let rows, let identifiers = ids.baseAddress else { return }
    UnsafeMutablePointer(mutating: Self.ids(in: memory)).update(from: identifiers, count: ids.count)
    UnsafeMutablePointer(mutating: Self.rows(in: memory, capacity: capacity))
      .update(from: rows, count: ids.count * width)
  }

  /// Writes the union of `sets` to memory for `capacity` rows; rows of the same number are added in the order of sets.
  static func merging(
    _ sets: [RowSet], width: Int, into memory: UnsafeMutableRawPointer, capacity: Int
  ) -> RowSet {
    let ids = UnsafeMutablePointer(mutating: Self.ids(in: memory))
    let rows = UnsafeMutablePointer(mutating: Self.rows(in: memory, capacity: capacity))
    var positions = Array(repeating: 0, count: sets.count)
    var count = 0
    while true {
      var next: Int32?
      for index in sets.indices where positions[index] < sets[index].ids.count {
        next = min(next ?? .max, sets[index].ids[positions[index]])
      }
      guard let id = next else { break }
      precondition(count < capacity, "at most \(capacity) rows per node")
      let target = rows + count * width
      target.update(repeating: 0, count: width)
      for index in sets.indices where positions[index] < sets[index].ids.count {
        guard sets[index].ids[positions[index]] == id, let source = sets[index].rows else { continue }
        CKernels_codecAdd(target, source + positions[index] * width, width)
        positions[index] += 1
      }
      ids[count] = id
      count += 1
    }
    memory.storeBytes(of: Int32(count), as: Int32.self)
    return RowSet(at: memory, width: width, capacity: capacity)
  }

  private static let headerByteCount = 64

  private static func identifierByteCount(_ rowCount: Int) -> Int { (4 * rowCount + 63) & ~63 }

  private static func ids(in memory: UnsafeRawPointer) -> UnsafePointer<Int32> {
    (memory + headerByteCount).assumingMemoryBound(to: Int32.self)
  }

  private static func rows(in memory: UnsafeRawPointer, capacity: Int) -> UnsafePointer<Float> {
    (memory + headerByteCount + identifierByteCount(capacity)).assumingMemoryBound(to: Float.self)
  }
}
