import Communication
import Foundation
import Platform
import Synchronization
import Training

/// A communicator that calls a hook before every exchange.
final class HookedCommunicator: CommunicatorWrapper {
  let base: any Communicator
  private let hook: @Sendable (MessageTag) throws -> Void

  /// Calls `hook` before each exchange through `base`; where it throws, there is no exchange.
  init(_ base: any Communicator, before hook: @escaping @Sendable (MessageTag) throws -> Void) {
    self.base = base
    self.hook = hook
  }

  func exchange(
    _ operation: MessageTag, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    try hook(operation)
    return try base.exchange(
      operation, with: peers, outgoing: outgoing, incoming: incoming, limits: limits)
  }

  func split(color: Int) throws -> any Communicator {
    HookedCommunicator(try base.split(color: color), before: hook)
  }
}

/// A link that becomes slow during a run: every exchange from a step on takes longer.
func slowed(
  _ base: any Communicator, fromStep firstSlowStep: Int, delaySeconds: Double
) -> any Communicator {
  // Measurements of the link have no step: they are as slow as the last step.
  let isSlow = Mutex(false)
  return HookedCommunicator(base) { operation in
    let waits = isSlow.withLock { isSlow in
      if operation.step >= firstSlowStep { isSlow = true }
      return isSlow
    }
    if waits { Thread.sleep(forTimeInterval: delaySeconds) }
  }
}

/// A link that breaks after some exchanges.
func broken(_ base: any Communicator, after count: Int) -> any Communicator {
  let left = Atomic(count)
  return HookedCommunicator(base) { _ in
    guard left.subtract(1, ordering: .relaxed).newValue >= 0 else {
      throw MilmError("the link is broken")
    }
  }
}
