import Communication

/// Ranks whose messages a fault plan spoils; made only where a test has asked for it.
///
/// `@unchecked Sendable`: as the communicator it wraps, one thread uses it at a time.
final class GarblingCommunicator: Communicator, @unchecked Sendable {
  private let base: any Communicator
  private let faults: FaultPlan

  /// Spoils what goes out through `base`.
  init(_ base: any Communicator, faults: FaultPlan) {
    self.base = base
    self.faults = faults
  }

  var rank: Int { base.rank }
  var rankCount: Int { base.rankCount }
  var hostNames: [String] { base.hostNames }
  var jobRanks: [Int] { base.jobRanks }
  var layout: NodeLayout { base.layout }
  var liveness: (any Liveness)? { base.liveness }

  /// Sends blobs with one bit changed, in the first exchange of a step that the plan names.
  func exchange(
    _ operation: CollectiveOperation, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    guard operation.phase == .reduce, operation.index == 0,
      faults.garbles(.exchange, step: operation.step)
    else {
      return try base.exchange(
        operation, with: peers, outgoing: outgoing, incoming: incoming, limits: limits)
    }
    let spoilt = outgoing.map { blob in
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: blob.count, alignment: 64)
      copy.copyMemory(from: blob)
      if !copy.isEmpty { copy[copy.count / 2] ^= 1 }
      return copy
    }
    defer { spoilt.forEach { $0.deallocate() } }
    return try base.exchange(
      operation, with: peers, outgoing: spoilt.map { UnsafeRawBufferPointer($0) }, incoming: incoming,
      limits: limits)
  }

  func shareMemory(among ranks: [Int], byteCount: Int) throws -> SharedMemory {
    try base.shareMemory(among: ranks, byteCount: byteCount)
  }

  func broadcast(
    _ operation: CollectiveOperation, _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws {
    try base.broadcast(operation, bytes, from: root)
  }

  func transportSum(_ values: UnsafeMutableBufferPointer<Float>) throws {
    try base.transportSum(values)
  }

  func split(color: Int) throws -> any Communicator {
    GarblingCommunicator(try base.split(color: color), faults: faults)
  }

  func abort(_ message: String) {
    base.abort(message)
  }
}

extension Ranks {
  /// The same ranks, whose gradients a plan may spoil on the way.
  func garbled(by faults: FaultPlan) -> Ranks {
    guard faults.garblesFrames else { return self }
    return Ranks(
      control: control, gradients: GarblingCommunicator(gradients, faults: faults), snapshots: snapshots)
  }
}
