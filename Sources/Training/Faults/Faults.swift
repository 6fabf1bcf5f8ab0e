import Checkpoints
import Communication
import Foundation
import Layers
import Platform
import Tensors

/// A fault that a test requests with `--fault ACTION:POINT:RANK:STEP`, as in `die:exchange:1:12`.
package struct Fault: Sendable, Equatable {
  /// The kind of fault.
  package enum Action: String, CaseIterable, Sendable {
    /// The process is killed, as by a power failure.
    case die
    /// The thread hangs.
    case hang
    /// An error is thrown: a write fails, or a rank ends with a message.
    case fail
    /// One bit flips: of a frame at `exchange`, of a parameter at `step`.
    case corrupt
  }

  /// Where it happens.
  package enum Point: String, CaseIterable, Sendable {
    /// Before MPI is started.
    case launch
    /// While the corpus is opened, before the first step.
    case start
    /// At the beginning of a step.
    case step
    /// In a step, once a range of the gradient is being exchanged.
    case exchange
    /// While a snapshot is taken.
    case snapshot
    /// In the background, before the first file of a checkpoint is written.
    case write
    /// In the background, before a complete checkpoint is renamed.
    case rename
    /// In the background, before `last` points to the newest checkpoint.
    case link
  }

  /// The kind of fault.
  package let action: Action
  /// Where it happens.
  package let point: Point
  /// On which rank.
  package let rank: Int
  /// In which step, or the step of which checkpoint.
  package let step: Int

  /// Reads `ACTION:POINT:RANK:STEP`; throws `MilmError`.
  package init(_ text: String) throws {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 4, let action = Action(rawValue: parts[0]), let point = Point(rawValue: parts[1]),
      let rank = Int(parts[2]), rank >= 0, let step = Int(parts[3]), step >= 0
    else {
      throw MilmError(
        "--fault: expected ACTION:POINT:RANK:STEP with \(Self.names(Action.self)) and \(Self.names(Point.self)), "
          + "found '\(text)'")
    }
    guard action != .corrupt || point == .exchange || point == .step else {
      throw MilmError("--fault: expected corrupt at exchange or step, found it at \(point.rawValue)")
    }
    (self.action, self.point, self.rank, self.step) = (action, point, rank, step)
  }

  private static func names<Name: CaseIterable & RawRepresentable<String>>(_: Name.Type) -> String {
    Name.allCases.map(\.rawValue).joined(separator: "|")
  }
}

/// The faults of a run: none, except in tests.
package struct FaultPlan: Sendable {
  private let faults: [Fault]

  /// The faults of all ranks.
  package init(_ faults: [Fault] = []) {
    self.faults = faults
  }

  func faults(of rank: Int) -> FaultPlan {
    FaultPlan(faults.filter { $0.rank == rank })
  }

  /// Injects faults before MPI starts; `rank` is that of this process according to its launcher.
  package func injectAtLaunch(rank: Int) throws {
    try faults(of: rank).inject(.launch, step: 0)
  }

  /// Whether a bit flips here.
  fileprivate func corrupts(_ point: Fault.Point, step: Int) -> Bool {
    faults.contains { $0.action == .corrupt && $0.point == point && $0.step == step }
  }

  /// Whether any frame is corrupted.
  fileprivate var corruptsFrames: Bool { faults.contains { $0.action == .corrupt && $0.point == .exchange } }

  /// Injects the faults of this place.
  func inject(_ point: Fault.Point, step: Int) throws {
    for fault in faults where fault.point == point && fault.step == step {
      switch fault.action {
      case .die: kill(getpid(), SIGKILL)
      case .hang: while true { sleep(1000) }
      case .fail: throw MilmError("a fault injected by --fault at \(point.rawValue), step \(step)")
      case .corrupt: break
      }
    }
  }

  /// Injects faults at the stages of writing checkpoints.
  func inject(_ stage: CheckpointStage, step: Int) throws {
    switch stage {
    case .writing: try inject(.write, step: step)
    case .renaming: try inject(.rename, step: step)
    case .linking: try inject(.link, step: step)
    }
  }
}

/// A sink around another: injects the faults at `exchange` once a range was submitted.
final class FaultySink: GradientSink {
  private let faults: FaultPlan
  private let step: Int
  private let next: any GradientSink

  init(_ faults: FaultPlan, step: Int, after next: any GradientSink) {
    self.faults = faults
    self.step = step
    self.next = next
  }

  func finish(_ range: GradientRange) throws {
    try next.finish(range)
    try faults.inject(.exchange, step: step)
  }

  func finish(rows: Matrix, of tokens: Vector<Int32>) throws { try next.finish(rows: rows, of: tokens) }
}

extension FaultPlan {
  /// Flips one bit of the parameters, as failing memory does, where the plan says so.
  func corrupt(_ parameters: ParameterBuffer, step: Int) {
    guard corrupts(.step, step: step) else { return }
    let place = parameters.flat.data + parameters.flat.count / 2
    place.pointee = Float(bitPattern: place.pointee.bitPattern ^ 1)
  }
}

/// A communicator that corrupts frames as a fault plan says.
///
/// `@unchecked Sendable`: one thread uses it at a time, like the communicator that it wraps.
private final class CorruptingCommunicator: CommunicatorWrapper, @unchecked Sendable {
  let base: any Communicator
  private let faults: FaultPlan

  init(_ base: any Communicator, faults: FaultPlan) {
    self.base = base
    self.faults = faults
  }

  /// Flips one bit of each blob, in the first exchange of the steps of the plan.
  func exchange(
    _ operation: MessageTag, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    guard operation.phase == .reduce, operation.index == 0,
      faults.corrupts(.exchange, step: operation.step)
    else {
      return try base.exchange(
        operation, with: peers, outgoing: outgoing, incoming: incoming, limits: limits)
    }
    let corrupted = outgoing.map { blob in
      let copy = UnsafeMutableRawBufferPointer.allocated(byteCount: blob.count)
      copy.copyMemory(from: blob)
      if !copy.isEmpty { copy[copy.count / 2] ^= 1 }
      return copy
    }
    defer { corrupted.forEach { free($0.baseAddress) } }
    return try base.exchange(
      operation, with: peers, outgoing: corrupted.map { UnsafeRawBufferPointer($0) }, incoming: incoming,
      limits: limits)
  }

  func split(color: Int) throws -> any Communicator {
    CorruptingCommunicator(try base.split(color: color), faults: faults)
  }
}

extension Ranks {
  /// The same ranks, whose frames of gradients a plan may corrupt.
  func corrupted(by faults: FaultPlan) -> Ranks {
    guard faults.corruptsFrames else { return self }
    return Ranks(
      control: control, gradients: CorruptingCommunicator(gradients, faults: faults), snapshots: snapshots)
  }
}
