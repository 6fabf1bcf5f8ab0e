import CKernels

/// The exchange of a gradient that touches few rows of a matrix: all ranks get all ranks' rows.
///
/// Two exact frames a rank: the row numbers, carried bit by bit as if they were floats, then the rows.
///
/// `@unchecked Sendable`: what jobs read is set before they are submitted.
final class RowExchange: @unchecked Sendable {
  let offset: Int
  private let width: Int
  private let maximumRowCount: Int
  private let matrixRowCount: Int
  private let name: String
  private let index: Int
  private let outgoing: AlignedBuffer
  private let incoming: AlignedBuffer
  private let capacity: Int
  private let rowIdentifiers: FloatBuffer
  private var ids = UnsafeBufferPointer<Int32>(start: nil, count: 0)
  private var rows: UnsafePointer<Float>?

  /// Rows of the range that begins at their offset; `bucketCount` is the first number no bucket has.
  init(_ sparse: SparseRows, ranges: [ExchangeRange], communicator: any Communicator, bucketCount: Int) {
    guard let matrix = ranges.first(where: { $0.range.lowerBound == sparse.offset }) else {
      preconditionFailure("no range begins where the sparse rows do: \(sparse.offset)")
    }
    precondition(matrix.range.count >= sparse.rowCount * sparse.width, "\(matrix.name) holds its rows")
    offset = sparse.offset
    width = sparse.width
    maximumRowCount = sparse.maximumRowCount
    matrixRowCount = sparse.rowCount
    name = matrix.name
    index = bucketCount
    capacity =
      FrameCoder.frameCapacity(elementCount: maximumRowCount)
      + FrameCoder.frameCapacity(elementCount: maximumRowCount * width)
    outgoing = AlignedBuffer(byteCount: capacity)
    incoming = AlignedBuffer(byteCount: capacity * communicator.rankCount)
    rowIdentifiers = FloatBuffer(count: maximumRowCount)
  }

  /// The most elements one of its frames can have.
  var maximumElementCount: Int { maximumRowCount * width }

  /// Sets what this rank sends in this step.
  func set(ids: UnsafeBufferPointer<Int32>, rows: UnsafePointer<Float>) {
    precondition(ids.count <= maximumRowCount, "at most \(maximumRowCount) rows a step, not \(ids.count)")
    self.ids = ids
    self.rows = rows
  }

  /// Runs on the communication thread.
  func exchange(_ exchange: GradientExchange, report: inout ExchangeReport) throws {
    let communicator = exchange.communicator
    guard communicator.rankCount > 1 else {
      if let rows { try addRows(ids, rows, from: communicator.rank, exchange) }
      return
    }
    let own = try report.timing(\.encodeSeconds) { _ in try encode(exchange) }
    let slots = exchange.ranks.map { incoming.slice(from: $0 * capacity, byteCount: capacity) }
    let byteCounts = try report.timing(\.wireSeconds) { _ in
      try communicator.exchange(
        operation(.rows, exchange), outgoing: Array(repeating: own, count: communicator.rankCount),
        incoming: slots, limits: exchange.step.limits)
    }
    report.count(
      elementCount: ids.count * (width + 1), byteCount: own.count, times: communicator.rankCount - 1)
    try report.timing(\.decodeSeconds) { _ in
      for sender in exchange.ranks {
        let blob = UnsafeRawBufferPointer(rebasing: slots[sender][..<byteCounts[sender]])
        try add(sender == communicator.rank ? own : blob, from: sender, exchange)
      }
    }
  }

  private func encode(_ exchange: GradientExchange) throws -> UnsafeRawBufferPointer {
    let target = outgoing.bytes
    let coder = exchange.workspace.coder
    rowIdentifiers.mutableBytes.copyMemory(from: UnsafeRawBufferPointer(ids))
    let first = try coder.encode(
      rowIdentifiers.start, as: frame(.rowIdentifiers, ids.count, exchange), into: target)
    let rest = UnsafeMutableRawBufferPointer(rebasing: target[first...])
    let second = try coder.encode(
      rows ?? UnsafePointer(rowIdentifiers.start), as: frame(.rows, ids.count * width, exchange), into: rest)
    return UnsafeRawBufferPointer(rebasing: target[..<(first + second)])
  }

  /// Adds one rank's rows ÷ the number of ranks to the gradient.
  private func add(_ blob: UnsafeRawBufferPointer, from sender: Int, _ exchange: GradientExchange) throws {
    let (first, second) = try split(blob, sender, exchange)
    let rowCount = try exchange.decode(
      first, expecting: expectation(.rowIdentifiers, 0...maximumRowCount, sender, exchange),
      into: rowIdentifiers.start)
    let elementCount = rowCount * width
    let rows = exchange.workspace.decoded.start
    _ = try exchange.decode(
      second, expecting: expectation(.rows, elementCount...elementCount, sender, exchange), into: rows)
    try rowIdentifiers.start.withMemoryRebound(to: Int32.self, capacity: maximumRowCount) {
      try addRows(UnsafeBufferPointer(start: $0, count: rowCount), rows, from: sender, exchange)
    }
  }

  private func addRows(
    _ ids: UnsafeBufferPointer<Int32>, _ rows: UnsafePointer<Float>, from sender: Int,
    _ exchange: GradientExchange
  ) throws {
    let matrix = exchange.gradient(offset..<offset)
    let divisor = Float(exchange.communicator.rankCount)
    var previous: Int32 = -1
    for (row, id) in ids.enumerated() {
      guard id > previous && id < matrixRowCount else {
        throw CommunicationError(
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
      throw CommunicationError(
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
      elementCount: elementCount, blockLength: 1, compressionLevel: -1)
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
