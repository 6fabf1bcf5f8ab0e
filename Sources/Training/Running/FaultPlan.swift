import Checkpoints
import Foundation
import Platform

/// A fault that a test asks for with `--fault ACTION:POINT:RANK:STEP`, as in `die:exchange:1:12`.
public struct Fault: Sendable, Equatable {
  /// What happens.
  public enum Action: String, CaseIterable, Sendable {
    /// The process is killed, as by a machine that loses power.
    case die
    /// The thread stops there for ever.
    case hang
    /// An error is thrown: a write that fails, or a rank that ends with a message.
    case fail
    /// One bit changes: of a frame at `exchange`, of a parameter at `step`.
    case garble
  }

  /// Where it happens.
  public enum Point: String, CaseIterable, Sendable {
    /// Before MPI is started.
    case launch
    /// While the corpus is opened, before the first step.
    case start
    /// At the beginning of a step.
    case step
    /// In a step, when a part of the gradient is on its way.
    case exchange
    /// While the state is collected and copied.
    case snapshot
    /// In the background, when a checkpoint's first file is written.
    case write
    /// In the background, before a complete checkpoint gets its name.
    case rename
    /// In the background, before the link to the newest checkpoint is changed.
    case link
  }

  /// What happens.
  public let action: Action
  /// Where it happens.
  public let point: Point
  /// To which rank.
  public let rank: Int
  /// In which step; that of the checkpoint where it is about one.
  public let step: Int

  /// Reads `ACTION:POINT:RANK:STEP`; throws `MilmError`.
  public init(_ text: String) throws {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 4, let action = Action(rawValue: parts[0]), let point = Point(rawValue: parts[1]),
      let rank = Int(parts[2]), rank >= 0, let step = Int(parts[3]), step >= 0
    else {
      throw MilmError(
        "--fault: expected ACTION:POINT:RANK:STEP with \(Self.names(Action.self)) and \(Self.names(Point.self)), "
          + "found '\(text)'")
    }
    guard action != .garble || point == .exchange || point == .step else {
      throw MilmError("--fault: expected garble at exchange or step, found it at \(point.rawValue)")
    }
    (self.action, self.point, self.rank, self.step) = (action, point, rank, step)
  }

  private static func names<Name: CaseIterable & RawRepresentable<String>>(_: Name.Type) -> String {
    Name.allCases.map(\.rawValue).joined(separator: "|")
  }
}

/// The faults that a run is to have: none, but for tests.
public struct FaultPlan: Sendable {
  private let faults: [Fault]

  /// The faults of a run; the same on all ranks.
  public init(_ faults: [Fault] = []) {
    self.faults = faults
  }

  /// The faults that happen to one rank.
  func own(rank: Int) -> FaultPlan {
    FaultPlan(faults.filter { $0.rank == rank })
  }

  /// Does what the plan has for the time before MPI; `rank` is this process's, as its launcher says.
  public func strikeAtLaunch(rank: Int) throws {
    try own(rank: rank).strike(.launch, step: 0)
  }

  /// Whether a bit changes here.
  func garbles(_ point: Fault.Point, step: Int) -> Bool {
    faults.contains { $0.action == .garble && $0.point == point && $0.step == step }
  }

  /// Whether any frame is to be spoilt.
  var garblesFrames: Bool { faults.contains { $0.action == .garble && $0.point == .exchange } }

  /// Does what the plan has for this place, which is nothing in a run that no test has begun.
  func strike(_ point: Fault.Point, step: Int) throws {
    for fault in faults where fault.point == point && fault.step == step {
      switch fault.action {
      case .die: kill(getpid(), SIGKILL)
      case .hang: while true { sleep(1000) }
      case .fail: throw MilmError("the fault asked for by --fault at \(point.rawValue), step \(step)")
      case .garble: break
      }
    }
  }

  /// Strikes at the stages of writing checkpoints.
  func strike(_ stage: CheckpointStage, step: Int) throws {
    switch stage {
    case .writing: try strike(.write, step: step)
    case .renaming: try strike(.rename, step: step)
    case .linking: try strike(.link, step: step)
    }
  }
}
