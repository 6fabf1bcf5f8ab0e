import Foundation
import Platform

/// Ranks that are processes of an MPI job.
///
/// Waiting sleeps most of the time. After an operation has thrown, later ones throw the same error.
///
/// `@unchecked Sendable`: one thread uses it at a time; every call goes through the lock of `MPICalls`.
package final class MPICommunicator: Communicator, @unchecked Sendable {
  package let rank: Int
  package let hostNames: [String]
  package let jobRanks: [Int]
  package let layout: NodeLayout
  package let liveness: (any Liveness)?
  package var rankCount: Int { hostNames.count }

  private let group: MPIGroup
  private let fault: ReceptionFault?
  private let transfers: PeerTransfers
  private var failure: (any Error)?
  private var windows: [MPISharedWindow] = []
  private var sharedMemories: [SharedMemory] = []
  private var subsets: [MPICommunicator] = []

  /// A communicator over a group that carries nothing else.
  init(
    _ group: MPIGroup, hostNames: [String], jobRanks: [Int]? = nil, layout: NodeLayout,
    liveness: (any Liveness)?, fault: ReceptionFault? = nil
  ) {
    precondition(group.rankCount == hostNames.count, "a name for each of \(group.rankCount) ranks")
    self.group = group
    self.fault = fault
    self.hostNames = hostNames
    self.jobRanks = jobRanks ?? Array(hostNames.indices)
    self.layout = layout
    self.liveness = liveness
    rank = group.rank
    transfers = PeerTransfers(group)
  }

  package func split(color: Int) throws -> any Communicator {
    try keepingFailure {
      let ranks = try ranks(ofColor: color)
      // MPI's colors are small numbers from 0 on; the first rank of a color is one.
      let subset = MPICommunicator(
        try group.split(color: ranks[0]), hostNames: ranks.map { hostNames[$0] },
        jobRanks: ranks.map { jobRanks[$0] }, layout: layout.subset(ranks),
        liveness: liveness.map { SubsetLiveness($0, ranks: ranks) }, fault: fault)
      subsets.append(subset)
      return subset
    }
  }

  package func exchange(
    _ operation: MessageTag, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    precondition(outgoing.count == peers.count && incoming.count == peers.count, "one buffer per peer")
    guard let own = peers.firstIndex(of: rank) else { preconditionFailure("rank \(rank) is not in \(peers)") }
    return try keepingFailure {
      var watch = watch(operation, limits)
      defer { watch.end() }
      let others = (1..<max(peers.count, 1)).map { (own + $0) % peers.count }
      for index in others {
        try transfers.start(with: peers[index], outgoing: outgoing[index], incoming: incoming[index])
      }
      if !operation.checksItsBytes {
        // While the messages are on their way.
        var checksum = MessageChecksum()
        for index in others {
          try transfers.exchangeChecksums(with: peers[index], own: checksum.value(of: outgoing[index]))
        }
      }
      do {
        try transfers.wait(onProgress: { watch.noteProgress() }, onPause: { try watch.check($0) })
      } catch let error as PeerTransfers.Failure {
        throw MilmError("\(operation), \(label(of: error.peer)): \(error.reason)")
      }
      return try zip(peers, incoming).map { peer, incoming in
        guard peer != rank else { return 0 }
        let byteCount = transfers.receivedByteCount(from: peer)
        let received = UnsafeMutableRawBufferPointer(rebasing: incoming[..<byteCount])
        fault?(operation, peer, rank, received)
        if !operation.checksItsBytes {
          try check(
            UnsafeRawBufferPointer(received), against: transfers.checksum(from: peer), from: peer, operation)
        }
        return byteCount
      }
    }
  }

  package func broadcast(
    _ operation: MessageTag, _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws {
    try keepingFailure {
      var watch = watch(operation, nil)
      defer { watch.end() }
      for start in stride(from: 0, to: bytes.count, by: PeerTransfers.messageByteCount) {
        let end = min(start + PeerTransfers.messageByteCount, bytes.count)
        try broadcastMessage(UnsafeMutableRawBufferPointer(rebasing: bytes[start..<end]), from: root, &watch)
      }
      guard rankCount > 1 else { return }
      var checksum = rank == root ? XXH64.hash(UnsafeRawBufferPointer(bytes)) : 0
      try withUnsafeMutableBytes(of: &checksum) { try broadcastMessage($0, from: root, &watch) }
      guard rank != root else { return }
      fault?(operation, root, rank, bytes)
      try check(UnsafeRawBufferPointer(bytes), against: checksum, from: root, operation)
    }
  }

  private func broadcastMessage(
    _ bytes: UnsafeMutableRawBufferPointer, from root: Int, _ watch: inout StallWatch
  ) throws {
    var request = try group.startBroadcast(bytes, from: root)
    var pace = WaitPace()
    while try !group.isDone(&request) {
      // MPI does not tell whom a broadcast waits for: the root, or a rank that forwards its bytes.
      if pace.pause() { try watch.check { (0..<rankCount).filter { $0 != rank } } }
    }
    watch.noteProgress()
  }

  package func transportSum(_ values: UnsafeMutableBufferPointer<Float>) throws {
    try keepingFailure {
      let count = PeerTransfers.messageByteCount / MemoryLayout<Float>.stride
      for start in stride(from: 0, to: values.count, by: count) {
        let end = min(start + count, values.count)
        try group.sum(UnsafeMutableBufferPointer(rebasing: values[start..<end]))
      }
    }
  }

  package func shareMemory(among ranks: [Int], byteCount: Int) throws -> SharedMemory {
    try keepingFailure {
      // The calls that follow block inside MPI until all ranks have made them.
      try barrier("share memory")
      let known = sharedMemories.first { $0.ranks == ranks && $0.areas.allSatisfy { $0.count >= byteCount } }
      if let known { return known }
      let window = try MPISharedWindow(
        group.split(color: ranks[0]), byteCount: (SharedMemory.headerByteCount + byteCount + 4095) & ~4095)
      let memory = SharedMemory(ranks: ranks, rank: rank, pieces: window.pieces)
      windows.append(window)
      sharedMemories.append(memory)
      return memory
    }
  }

  /// Frees shared memory, also that of communicators split from this one; all ranks call it before MPI ends.
  func freeSharedMemory() throws {
    for window in windows { try window.free() }
    for subset in subsets { try subset.freeSharedMemory() }
    windows.removeAll()
    sharedMemories.removeAll()
  }

  /// Prints `message` on standard error and ends all processes of the job with status 1.
  package func abort(_ message: String) {
    printLine("rank \(jobRanks[rank]): \(message)")
    end()
  }

  private static let readingMicroseconds: useconds_t = 300_000

  /// Ends all processes of the job with status 1.
  func end() {
    fflush(nil)
    // MPICH's launcher ends the job without reading what is still in its pipes.
    if !MPILibrary.isOpenMPI { usleep(Self.readingMicroseconds) }
    group.abort(status: 1)
  }

  private func keepingFailure<Value>(_ body: () throws -> Value) throws -> Value {
    if let failure { throw failure }
    do {
      return try body()
    } catch {
      failure = error
      throw error
    }
  }
}
