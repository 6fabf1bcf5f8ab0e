import Communication
import Foundation
import Layers
import Platform
import Synchronization
import Tensors

/// Sends the shards of all ranks to rank 0's snapshot, on a thread of its own, while training continues.
///
/// Every rank has one. A rank copies its shard, which is empty where every rank has all of the vocabulary, at the speed of
/// memory, and sends the copy over a communicator that carries nothing else. Ranks wait for the messages of steps, so the
/// sender pauses after each message, until it is urgent.
///
/// `@unchecked Sendable`: `packed` is filled only once the previous transfer is done.
final class ShardTransfer: @unchecked Sendable {
  /// The pause after a message, as a multiple of the time that the message took.
  private static let pausePerSecond = 3.0

  /// What rank 0 receives from each rank: the shards of the first group, which all other groups have too.
  private let shards: [ParameterShard]
  private let communicator: any Communicator
  /// The copies of this rank's shard, one of each buffer; on rank 0 a single one, for any other rank's.
  private let packed: [Matrix]
  private let isUrgent = Atomic(false)
  private let thread: JobThread
  private let failure = Mutex<(any Error)?>(nil)
  private let arena: Arena

  /// The transfer of a state.
  init(_ state: TrainingState, in arena: Arena = Arena()) throws {
    self.arena = arena
    thread = try JobThread(name: "snapshots")
    let ranks = state.ranks
    let shards = (0..<ranks.rankCount).map { state.layout.contributedShard(of: $0, state.model) }
    self.shards = shards
    communicator = ranks.snapshots
    let counts =
      ranks.isCoordinator
      ? [shards.reduce(0) { max($0, $1.ownedCount) }]
      : state.buffers.map { _ in shards[ranks.rank].ownedCount }
    packed = counts.map { arena.matrix(rowCount: 1, columnCount: $0) }
  }

  /// Copies this rank's shard and starts sending it; on rank 0 starts receiving those of the others into `snapshot`.
  func begin(_ state: TrainingState, into snapshot: Snapshot?) throws {
    try finish()
    isUrgent.store(false, ordering: .relaxed)
    if let snapshot {
      snapshot.beginArrival()
      submit { [self] in
        let result = Result {
          for buffer in snapshot.buffers { try receiveShards(into: buffer) }
        }
        snapshot.endArrival(result)
        try result.get()
      }
    } else {
      for (copy, buffer) in zip(packed, state.buffers) { buffer.packShard(ownShard, to: copy.data) }
      submit { [self] in
        for copy in packed { try sendShard(copy, between: pause) }
      }
    }
  }

  /// Completes rank 0's parameters, between steps; all ranks call it.
  func gatherParameters(of state: TrainingState) throws {
    try finish()
    guard !state.ranks.isCoordinator else { return try receiveShards(into: state.parameters) }
    state.parameters.packShard(ownShard, to: packed[0].data)
    try sendShard(packed[0])
  }

  /// Ends the pauses: a rank, here or rank 0, waits for the transfer.
  func setUrgent() { isUrgent.store(true, ordering: .relaxed) }

  /// Waits until the transfer is done; throws what has ended it.
  func finish() throws {
    setUrgent()
    thread.waitUntilIdle()
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  private var ownShard: ParameterShard { shards[communicator.rank] }

  /// Sends a packed shard to rank 0, unless it is empty.
  private func sendShard(_ copy: Matrix, between: (_ seconds: Double) -> Void = { _ in }) throws {
    guard copy.count > 0 else { return }
    try copy.move(
      from: communicator.rank, to: Ranks.coordinator, over: communicator, between: between)
  }

  /// Receives the shards of all other ranks, one after the other; each of them calls `sendShard`.
  private func receiveShards(into buffer: ParameterBuffer) throws {
    for (rank, shard) in shards.enumerated() where rank != communicator.rank && shard.ownedCount > 0 {
      let part = packed[0].columns(0..<shard.ownedCount)
      try part.move(from: rank, to: communicator.rank, over: communicator)
      buffer.unpackShard(shard, from: part.data)
    }
  }

  private func pause(after seconds: Double) {
    let end = ContinuousClock.now + .seconds(Self.pausePerSecond * seconds)
    while !isUrgent.load(ordering: .relaxed), ContinuousClock.now < end { usleep(1000) }
  }

  private func submit(_ job: @escaping @Sendable () throws -> Void) {
    thread.submit { [self] in
      do { try job() } catch { failure.withLock { $0 = error } }
    }
  }
}

extension TrainingState {
  /// The parameter shard of each rank, by rank.
  fileprivate var shardsOfRanks: [ParameterShard] {
    (0..<ranks.rankCount).map { layout.parameterShard(of: $0, model) }
  }

  /// Gives every rank its part of rank 0's `buffers`; all ranks call it.
  func distribute(_ buffers: [ParameterBuffer]) throws {
    for buffer in buffers {
      let common = buffer.flat.columns(shard.common)
      try ranks.control.broadcast("tensors", over: common.bytes, from: Ranks.coordinator)
      try buffer.distributeShards(shardsOfRanks, over: ranks.control)
    }
  }
}

extension ParameterBuffer {
  /// Sends each rank its shard of rank 0's buffer; all ranks call it.
  fileprivate func distributeShards(_ shards: [ParameterShard], over communicator: any Communicator) throws {
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    let isRoot = communicator.rank == Ranks.coordinator
    let count = isRoot ? shards.reduce(0) { max($0, $1.ownedCount) } : shards[communicator.rank].ownedCount
    let room = arena.matrix(rowCount: 1, columnCount: count)
    for (rank, shard) in shards.enumerated() where rank != Ranks.coordinator && shard.ownedCount > 0 {
      guard isRoot || rank == communicator.rank else { continue }
      let part = room.columns(0..<shard.ownedCount)
      if isRoot { packShard(shard, to: part.data) }
      try part.move(from: Ranks.coordinator, to: rank, over: communicator)
      if !isRoot { unpackShard(shard, from: part.data) }
    }
  }
}

extension Matrix {
  /// Copies a packed shard from one rank to another; these two call it.
  fileprivate func move(
    from sender: Int, to receiver: Int, over communicator: any Communicator,
    between: (_ seconds: Double) -> Void = { _ in }
  ) throws {
    try communicator.move(
      "shard of rank \(max(sender, receiver))", bytes, from: sender, to: receiver, between: between)
  }
}
