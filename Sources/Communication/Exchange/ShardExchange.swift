import CKernels
import Platform
import Tensors

/// The collectives of ranks that own shards of a matrix's rows, so that its gradient need not be exchanged.
///
/// They fetch looked-up rows, all-gather, all-to-all, reduce-scatter, and reduce the gradients of looked-up rows.
/// Every owner calls the operations in the same order; each returns when it is done, and `cost` is their total.
/// All values are sent exactly, and terms of several ranks are added in the order of shards, so that results do not depend
/// on the order of arrival. `ShardTraffic` states what each operation sends.
///
/// `@unchecked Sendable`: one thread calls it, and waits for the jobs that it gives to the communication thread.
package final class ShardExchange: @unchecked Sendable {
  /// The rows of this rank.
  package let shard: RowShard
  /// The length of a row.
  package let width: Int
  /// The most rows a rank looks up, or gives a gradient for, at once.
  package let maximumRowCount: Int
  private let communicator: any Communicator
  private let thread: CommunicationThread
  /// The rank of each shard.
  private let owners: [Int]
  private let channel: FrameChannel
  /// By shard: floats sent to its owner, and received from there.
  private let sent: [FloatBuffer]
  private let received: [FloatBuffer]
  /// Floats as they are.
  private static let format = FrameFormat(codec: .uncompressed, blockLength: 1)
  private var step = 0
  private var operationCount = 0
  private var limits: StallLimits?
  private var report = ExchangeReport(codec: .uncompressed)

  /// The exchange of a rank that owns `shard`, with the ranks `owners` of all shards; the same on all of them but for the shard.
  ///
  /// `maximumElementCount` is the most floats of one rank in an all-gather, all-to-all or reduce-scatter. `communicator` carries
  /// nothing else at the same time, and is used on `thread` alone.
  package init(
    _ shard: RowShard, owners: [Int], width: Int, maximumRowCount: Int, maximumElementCount: Int,
    communicator: any Communicator, thread: CommunicationThread, in arena: Arena = Arena()
  ) {
    precondition(
      owners.count == shard.count && owners[shard.index] == communicator.rank, "one owner per shard")
    self.shard = shard
    self.owners = owners
    self.width = width
    self.maximumRowCount = maximumRowCount
    self.communicator = communicator
    self.thread = thread
    // The most floats of a message.
    let capacity = max(maximumElementCount, maximumRowCount * (width + 1))
    channel = FrameChannel(
      communicator, peers: owners, coder: FrameCoder(maximumElementCount: capacity, in: arena),
      frameElementCounts: [capacity], in: arena)
    sent = owners.map { _ in FloatBuffer(count: capacity, in: arena) }
    received = owners.map { _ in FloatBuffer(count: capacity, in: arena) }
  }

  /// Begins a step; `limits` bound the wait for other ranks in it.
  package func begin(step: Int, limits: StallLimits?, isTraced: Bool) {
    self.step = step
    self.limits = limits
    operationCount = 0
    report = ExchangeReport(codec: .uncompressed, isTraced: isTraced)
  }

  /// Costs of the step so far.
  package var cost: ExchangeReport { report }

  /// Copies looked-up rows of other shards to their place in `matrix`.
  ///
  /// `ids` are the rows that the owner of each shard looks up, strictly ascending; all ranks know those of all.
  package func fetchRows(_ ids: [UnsafeBufferPointer<Int32>], into matrix: UnsafeMutablePointer<Float>) throws
  {
    let own = shard.index
    let width = width
    var counts = [Int](repeating: 0, count: owners.count)
    for id in ids[own] { counts[shard.shardIndex(ofRow: Int(id))] += width }
    let spans = owners.indices.map { other in
      var place = sent[other].start
      for id in ids[other] where other != own && shard.contains(Int(id)) {
        place.update(from: matrix + Int(id) * width, count: width)
        place += width
      }
      return Span(sent[other].start, place - sent[other].start)
    }
    try transfer("rows", spans, into: owners.indices.map { Span(received[$0].start, counts[$0]) })
    var places = received.map(\.start)
    for id in ids[own] {
      let owner = shard.shardIndex(ofRow: Int(id))
      guard owner != own else { continue }
      (matrix + Int(id) * width).update(from: places[owner], count: width)
      places[owner] += width
    }
  }

  /// Copies the chunk of each owner in `all` to every rank; `chunks` are in the order of shards.
  package func allGather(_ name: String, _ all: UnsafeMutablePointer<Float>, chunks: [Range<Int>]) throws {
    let spans = chunks.map { Span(all + $0.lowerBound, $0.count) }
    try transfer(name, owners.map { _ in spans[shard.index] }, into: spans)
  }

  /// Sends each owner its chunk of `all`; returns this rank's chunk of every owner, in the order of shards.
  ///
  /// The result stays valid until the next operation.
  package func allToAll(
    _ name: String, _ all: UnsafeMutablePointer<Float>, chunks: [Range<Int>]
  ) throws -> [UnsafeMutablePointer<Float>] {
    let spans = chunks.map { Span(all + $0.lowerBound, $0.count) }
    let own = spans[shard.index]
    try transfer(name, spans, into: received.map { Span($0.start, own.count) })
    return owners.indices.map { $0 == shard.index ? own.start : received[$0].start }
  }

  /// Sets `own` to the sum of all ranks' chunks for this one, in the order of shards, times `factor`.
  package func reduceScatter(
    _ name: String, _ all: UnsafeMutablePointer<Float>, chunks: [Range<Int>], factor: Float,
    into own: UnsafeMutablePointer<Float>
  ) throws {
    let count = chunks[shard.index].count
    for (index, terms) in try allToAll(name, all, chunks: chunks).enumerated() {
      if index == 0 { own.update(from: terms, count: count) } else { CKernels_codecAdd(own, terms, count) }
    }
    CKernels_scale(own, factor, own, count)
  }

  /// Sends gradients of looked-up rows to their owners, which add them ÷ `divisor` in the order of shards.
  ///
  /// `ids` are strictly ascending; `rows` has a row for each. `gradient` is the whole matrix's; only rows of this shard change.
  package func reduceRows(
    ids: UnsafeBufferPointer<Int32>, rows: UnsafePointer<Float>, divisor: Float,
    addingTo gradient: UnsafeMutablePointer<Float>
  ) throws {
    precondition(ids.count <= maximumRowCount, "at most \(maximumRowCount) rows, not \(ids.count)")
    let spans = owners.indices.map { other in Span(sent[other].start, pack(ids, rows, for: other)) }
    let most = maximumRowCount * (width + 1)
    let counts = try transfer(
      "rows' gradients", spans, into: received.map { Span($0.start, most) }, sizeIsKnown: false)
    for index in owners.indices {
      let isOwn = index == shard.index
      try add(
        isOwn ? spans[index] : Span(received[index].start, counts[index]), from: owners[index], divisor,
        to: gradient)
    }
  }

  /// Packs the numbers of an owner's rows, then the rows; returns how many floats that are.
  private func pack(
    _ ids: UnsafeBufferPointer<Int32>, _ rows: UnsafePointer<Float>, for other: Int
  ) -> Int {
    let start = sent[other].start
    let count = ids.count { shard.shardIndex(ofRow: Int($0)) == other }
    var (number, row) = (start, start + count)
    for (index, id) in ids.enumerated() where shard.shardIndex(ofRow: Int(id)) == other {
      number.pointee = Float(bitPattern: UInt32(bitPattern: id))
      row.update(from: rows + index * width, count: width)
      number += 1
      row += width
    }
    return count * (width + 1)
  }

  private func add(
    _ span: Span, from rank: Int, _ divisor: Float, to gradient: UnsafeMutablePointer<Float>
  ) throws {
    let count = span.count / (width + 1)
    var previous = -1
    for index in 0..<count {
      let id = Int(Int32(bitPattern: span.start[index].bitPattern))
      guard id > previous, id < shard.rowCount, shard.contains(id), span.count == count * (width + 1) else {
        throw MilmError(
          "rows' gradients from \(communicator.label(of: rank)): expected ascending rows of shard \(shard.index) "
            + "of \(shard.count), found row \(id) after \(previous)")
      }
      previous = id
      CKernels_codecAddQuotients(
        gradient + id * width, span.start + count + index * width, divisor, width)
    }
  }
}

extension ShardExchange {
  /// Consecutive floats.
  private struct Span {
    let start: UnsafeMutablePointer<Float>
    let count: Int

    init(_ start: UnsafeMutablePointer<Float>, _ count: Int) {
      self.start = start
      self.count = count
    }
  }

  /// Sends each other owner its span, and receives theirs; returns how many floats were received, by shard.
  ///
  /// Spans to be received have exactly the size of their target, or at most that where the size is not known.
  @discardableResult
  private func transfer(
    _ name: String, _ spans: [Span], into targets: [Span], sizeIsKnown: Bool = true
  ) throws -> [Int] {
    guard owners.count > 1 else { return [0] }
    let start = ContinuousClock.now
    operationCount += 1
    let operation = MessageTag(name: name, phase: .shards, step: step, index: operationCount)
    nonisolated(unsafe) let (spans, targets) = (spans, targets)
    let counts: [Int]
    (counts, report) = try thread.run { [self, report] in
      var cost = report
      let messages = try cost.timing(.encode) { _ in try encode(spans, operation) }
      let received = try channel.exchange(operation, messages, limits: limits, report: &cost)
      let counts = try cost.timing(.decode) { _ in
        try owners.indices.map { other in
          guard other != shard.index else { return 0 }
          let count = targets[other].count
          return try channel.decode(
            received[other], from: owners[other], as: Self.format, operation,
            elementCounts: (sizeIsKnown ? count : 0)...count, into: targets[other].start)
        }
      }
      return (counts, cost)
    }
    let seconds = (ContinuousClock.now - start).inSeconds
    report.totalSeconds += seconds
    report.exposedSeconds += seconds
    return counts
  }

  /// A message for each other owner; a span for several owners is encoded once.
  private func encode(_ spans: [Span], _ operation: MessageTag) throws -> [FrameMessage] {
    var last: (span: Span, message: FrameMessage)?
    return try owners.indices.map { other in
      guard other != shard.index else { return FrameMessage() }
      let span = spans[other]
      if let last, last.span.start == span.start, last.span.count == span.count { return last.message }
      let message = try channel.encode(
        span.start, count: span.count, as: Self.format, operation, into: other, price: .nothing)
      last = (span, message)
      return message
    }
  }
}
