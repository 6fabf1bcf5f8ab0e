import CKernels
import Platform
import Tensors

/// What ranks that share out the rows of a matrix do for each other in a step, so that no gradient of the matrix has to
/// travel: an owner hands out rows, gets what all ranks multiply them with, and gives back what comes of it.
///
/// Every owner calls the operations in the same order; each returns when it is done, and what all took is in `cost`.
/// All values travel exactly, and what several ranks give is added in the order of shards, so that the result does not
/// depend on who was first.
///
/// `@unchecked Sendable`: one thread calls it, and waits for the jobs that it gives to the communication thread.
public final class ShardExchange: @unchecked Sendable {
  /// The rows of this rank.
  public let shard: RowShard
  /// The length of a row.
  public let width: Int
  /// The most rows a rank looks up, or gives a gradient for, at once.
  public let maximumRowCount: Int
  private let communicator: any Communicator
  private let thread: CommunicationThread
  /// The rank of each shard.
  private let owners: [Int]
  private let coder: FrameCoder
  private let outgoing: FrameSlots
  private let incoming: FrameSlots
  /// By shard: what goes to its owner, and what comes from there.
  private let sent: [FloatBuffer]
  private let received: [FloatBuffer]
  private var step = 0
  private var operationCount = 0
  private var limits: StallLimits?
  private var report = ExchangeReport(codec: .none)

  /// The exchange of a rank that owns `shard`, with the ranks `owners` of all shards; the same on all of them but for the shard.
  ///
  /// `maximumElementCount` is the most floats of one rank that are gathered, swapped or scattered at once. `communicator` carries
  /// nothing else at the same time, and is used on `thread` alone.
  public init(
    _ shard: RowShard, owners: [Int], width: Int, maximumRowCount: Int, maximumElementCount: Int,
    communicator: any Communicator, thread: CommunicationThread
  ) {
    precondition(owners.count == shard.count && owners[shard.index] == communicator.rank, "an owner a shard")
    self.shard = shard
    self.owners = owners
    self.width = width
    self.maximumRowCount = maximumRowCount
    self.communicator = communicator
    self.thread = thread
    let capacity = max(maximumElementCount, maximumRowCount * (width + 1))
    coder = FrameCoder(maximumElementCount: capacity)
    outgoing = FrameSlots(owners.count, elementCount: capacity)
    incoming = FrameSlots(owners.count, elementCount: capacity)
    sent = owners.map { _ in FloatBuffer(count: capacity) }
    received = owners.map { _ in FloatBuffer(count: capacity) }
  }

  /// Begins a step; `limits` say how long to wait for other ranks in it.
  public func begin(step: Int, limits: StallLimits?, isTraced: Bool) {
    self.step = step
    self.limits = limits
    operationCount = 0
    report = ExchangeReport(codec: .none, isTraced: isTraced)
  }

  /// What the step has cost so far.
  public var cost: ExchangeReport { report }

  /// Brings rows into their places in `matrix`, of which this rank has those of its shard.
  ///
  /// `ids` are the rows that the owner of each shard looks up, rising strictly: all ranks know those of all.
  public func fetchRows(_ ids: [UnsafeBufferPointer<Int32>], into matrix: UnsafeMutablePointer<Float>) throws
  {
    let own = shard.index
    let width = width
    var counts = [Int](repeating: 0, count: owners.count)
    for id in ids[own] { counts[shard.shardIndex(ofRow: Int(id))] += width }
    let pieces = owners.indices.map { other in
      var place = sent[other].start
      for id in ids[other] where other != own && shard.contains(Int(id)) {
        place.update(from: matrix + Int(id) * width, count: width)
        place += width
      }
      return Piece(sent[other].start, place - sent[other].start)
    }
    try transfer("rows", pieces, into: owners.indices.map { Piece(received[$0].start, counts[$0]) })
    var places = received.map(\.start)
    for id in ids[own] {
      let owner = shard.shardIndex(ofRow: Int(id))
      guard owner != own else { continue }
      (matrix + Int(id) * width).update(from: places[owner], count: width)
      places[owner] += width
    }
  }

  /// Gives every rank all of `all`, of which each owner has its part; `parts` are theirs, in the order of shards.
  public func gather(_ name: String, _ all: UnsafeMutablePointer<Float>, parts: [Range<Int>]) throws {
    let pieces = parts.map { Piece(all + $0.lowerBound, $0.count) }
    try transfer(name, owners.map { _ in pieces[shard.index] }, into: pieces)
  }

  /// Sends each owner its part of `all`; gives what all have for this one, in the order of shards.
  ///
  /// Each is as long as this rank's part, and stays valid until the next operation.
  public func swap(
    _ name: String, _ all: UnsafeMutablePointer<Float>, parts: [Range<Int>]
  ) throws -> [UnsafeMutablePointer<Float>] {
    let pieces = parts.map { Piece(all + $0.lowerBound, $0.count) }
    let own = pieces[shard.index]
    try transfer(name, pieces, into: received.map { Piece($0.start, own.count) })
    return owners.indices.map { $0 == shard.index ? own.start : received[$0].start }
  }

  /// Sets `own` to the sum over all ranks of what they have for this one, in the order of shards, times `factor`.
  public func scatter(
    _ name: String, _ all: UnsafeMutablePointer<Float>, parts: [Range<Int>], factor: Float,
    into own: UnsafeMutablePointer<Float>
  ) throws {
    let count = parts[shard.index].count
    for (index, terms) in try swap(name, all, parts: parts).enumerated() {
      if index == 0 { own.update(from: terms, count: count) } else { CKernels_codecAdd(own, terms, count) }
    }
    CKernels_scale(own, factor, own, count)
  }

  /// Adds gradients of looked-up rows ÷ `divisor` to the rows of their owners, those of several ranks in the order of shards.
  ///
  /// `ids` rise strictly; `rows` has a row for each. `gradient` is the whole matrix's, of which this rank's rows are added to.
  public func returnRows(
    ids: UnsafeBufferPointer<Int32>, rows: UnsafePointer<Float>, divisor: Float,
    addingTo gradient: UnsafeMutablePointer<Float>
  ) throws {
    precondition(ids.count <= maximumRowCount, "at most \(maximumRowCount) rows, not \(ids.count)")
    let pieces = owners.indices.map { other in Piece(sent[other].start, pack(ids, rows, for: other)) }
    let most = maximumRowCount * (width + 1)
    let counts = try transfer(
      "rows' gradients", pieces, into: received.map { Piece($0.start, most) }, isExpectedExactly: false)
    for part in owners.indices {
      let isOwn = part == shard.index
      try add(
        isOwn ? pieces[part] : Piece(received[part].start, counts[part]), from: owners[part], divisor,
        to: gradient)
    }
  }

  /// Lays out for an owner the numbers of its rows, then the rows; gives how many floats that are.
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
    _ piece: Piece, from rank: Int, _ divisor: Float, to gradient: UnsafeMutablePointer<Float>
  ) throws {
    let count = piece.count / (width + 1)
    var previous = -1
    for index in 0..<count {
      let id = Int(Int32(bitPattern: piece.start[index].bitPattern))
      guard id > previous, id < shard.rowCount, shard.contains(id), piece.count == count * (width + 1) else {
        throw MilmError(
          "rows' gradients from \(communicator.label(of: rank)): expected rising rows of shard \(shard.index) "
            + "of \(shard.count), found row \(id) after \(previous)")
      }
      previous = id
      CKernels_codecAddQuotients(
        gradient + id * width, piece.start + count + index * width, divisor, width)
    }
  }
}

extension ShardExchange {
  /// Floats that lie side by side.
  private struct Piece {
    let start: UnsafeMutablePointer<Float>
    let count: Int

    init(_ start: UnsafeMutablePointer<Float>, _ count: Int) {
      self.start = start
      self.count = count
    }
  }

  /// Sends each other owner its piece, and gets theirs; gives how many floats have come, by shard.
  ///
  /// What comes has as many floats as there is room for, or any number up to that where it is not expected exactly.
  @discardableResult
  private func transfer(
    _ name: String, _ pieces: [Piece], into rooms: [Piece], isExpectedExactly: Bool = true
  ) throws -> [Int] {
    guard owners.count > 1 else { return [0] }
    let start = ContinuousClock.now
    operationCount += 1
    let operation = CollectiveOperation(name: name, phase: .shards, step: step, index: operationCount)
    nonisolated(unsafe) let (pieces, rooms) = (pieces, rooms)
    let counts: [Int]
    (counts, report) = try thread.run { [self, report] in
      var cost = report
      let frames = try cost.timing(\.encodeSeconds) { cost in try encode(pieces, operation, &cost) }
      let blobs = try exchange(frames, operation, &cost)
      let counts = try cost.timing(\.decodeSeconds) { _ in
        try owners.indices.map { other in
          guard other != shard.index else { return 0 }
          let room = rooms[other]
          let expected = FrameExpectation(
            codec: .none, operation: operation, sender: owners[other],
            elementCounts: isExpectedExactly ? room.count...room.count : 0...room.count, blockLength: 1)
          return try decode(blobs[other], expecting: expected, into: room.start)
        }
      }
      return (counts, cost)
    }
    let seconds = (ContinuousClock.now - start).inSeconds
    report.totalSeconds += seconds
    report.exposedSeconds += seconds
    return counts
  }

  /// A frame for each other owner; what goes to several is encoded once.
  private func encode(
    _ pieces: [Piece], _ operation: CollectiveOperation, _ cost: inout ExchangeReport
  ) throws -> [UnsafeRawBufferPointer] {
    var last: (piece: Piece, frame: UnsafeRawBufferPointer)?
    return try owners.indices.map { other in
      guard other != shard.index else { return UnsafeRawBufferPointer(start: nil, count: 0) }
      let piece = pieces[other]
      if let last, last.piece.start == piece.start, last.piece.count == piece.count {
        cost.count(elementCount: piece.count, byteCount: last.frame.count, times: 1)
        return last.frame
      }
      let frame = FrameDescription(
        codec: .none, operation: operation, sender: communicator.rank, elementCount: piece.count,
        blockLength: 1)
      let slot = outgoing[other]
      let byteCount = try coder.encode(piece.start, as: frame, into: slot, price: .nothing)
      let encoded = UnsafeRawBufferPointer(rebasing: slot[..<byteCount])
      cost.count(elementCount: piece.count, byteCount: byteCount, times: 1)
      last = (piece, encoded)
      return encoded
    }
  }

  private func exchange(
    _ frames: [UnsafeRawBufferPointer], _ operation: CollectiveOperation, _ cost: inout ExchangeReport
  ) throws -> [UnsafeRawBufferPointer] {
    cost.trace?.note(operation, sentByteCount: frames.reduce(0) { $0 + $1.count })
    return try cost.timing(\.wireSeconds) { _ in
      let rooms = owners.indices.map { incoming[$0] }
      let byteCounts = try communicator.exchange(
        operation, with: owners, outgoing: frames, incoming: rooms, limits: limits)
      return owners.indices.map { UnsafeRawBufferPointer(rebasing: rooms[$0][..<byteCounts[$0]]) }
    }
  }

  private func decode(
    _ frame: UnsafeRawBufferPointer, expecting expected: FrameExpectation,
    into values: UnsafeMutablePointer<Float>
  ) throws -> Int {
    do {
      return try coder.decode(frame, expecting: expected, into: values)
    } catch {
      throw MilmError(
        "frame from \(communicator.label(of: expected.sender)) at \(expected.operation): \(error)")
    }
  }
}
