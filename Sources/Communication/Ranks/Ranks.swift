import Platform
import Tensors

/// The ranks of a job as a program sees them: one group for gradients, one for snapshots,
/// one for everything else, which never mix.
public struct Ranks: Sendable {
  /// Start, checkpoints and evaluation; used between steps.
  public let control: any Communicator
  /// Gradients alone; used by the exchange's own thread.
  public let gradients: any Communicator
  /// What one rank alone has, on its way to rank 0 while training goes on.
  public let snapshots: any Communicator

  /// The ranks of three communicators over the same processes.
  public init(control: any Communicator, gradients: any Communicator, snapshots: any Communicator) {
    self.control = control
    self.gradients = gradients
    self.snapshots = snapshots
  }

  /// The ranks of an MPI job.
  package init(_ world: MPIWorld) {
    self.init(control: world.control, gradients: world.gradients, snapshots: world.snapshots)
  }

  /// The number of this rank.
  public var rank: Int { control.rank }
  /// How many ranks there are.
  public var rankCount: Int { control.rankCount }
  /// The rank that reads the configuration, writes the run and evaluates.
  public static let coordinator = 0
  /// Whether this is that rank.
  public var isCoordinator: Bool { rank == Self.coordinator }

  /// Whether this is the first rank on its host: what is worth doing once a node is done here.
  public var isFirstOnHost: Bool {
    control.hostNames.firstIndex(of: control.hostNames[rank]) == rank
  }

  /// How many ranks share this rank's host.
  public var countOnHost: Int {
    control.hostNames.count { $0 == control.hostNames[rank] }
  }

  /// The threads for this rank where the configuration does not say: its share of the processors that it may
  /// run on, which it may have for itself; all ranks call it.
  public func threadCountOfAShare() throws -> Int {
    let own = Processors.allowed
    let masks = try control.allGather("processors", Array(own.mask.utf8))
    let sharing = (0..<rankCount).count { other in
      control.hostNames[other] == control.hostNames[rank] && masks[other].elementsEqual(own.mask.utf8)
    }
    return own.threadCount(sharedBy: sharing)
  }

  /// Runs `body` on every rank and throws on all of them where it throws on one,
  /// so that no rank waits for one that is gone.
  ///
  /// The error is the same everywhere: that of the lowest rank, with its host where not all have the same.
  public func together<Value>(_ name: String, _ body: () throws -> Value) throws -> Value {
    let result = Result { try body() }
    var message = ""
    if case .failure(let error) = result { message = "\(error)" }
    let messages = try control.allGather(name, Array(message.utf8))
      .map { String(decoding: $0, as: UTF8.self) }
    guard let failing = messages.firstIndex(where: { !$0.isEmpty }) else { return try result.get() }
    let isCommon = messages.allSatisfy { $0 == messages[failing] }
    throw MilmError(
      isCommon ? messages[failing] : "\(control.label(of: failing)): \(messages[failing])")
  }

  /// Runs `body` on rank 0 and throws on all ranks where it throws; gives its value there and nil elsewhere.
  public func onCoordinator<Value>(_ name: String, _ body: () throws -> Value) throws -> Value? {
    let result = isCoordinator ? Result { try body() } : nil
    var message = ""
    if case .failure(let error) = result { message = "\(error)" }
    let shared = try control.broadcast(name, Array(message.utf8), from: Self.coordinator)
    guard shared.isEmpty else { throw MilmError(String(decoding: shared, as: UTF8.self)) }
    return try result?.get()
  }

  /// Gives all ranks what rank 0 claims; what the others pass is ignored.
  public func share(_ claim: Bool) throws -> Bool {
    try control.broadcast("a decision", [claim ? 1 : 0], from: Self.coordinator) == [1]
  }

  /// Throws on all ranks where `value` is not the same on all;
  /// the error names the first host that differs from rank 0.
  public func requireSame(_ what: String, _ value: String) throws {
    let values = try control.allGather("compare \(what)", Array(value.utf8)).map {
      String(decoding: $0, as: UTF8.self)
    }
    if let other = values.firstIndex(where: { $0 != values[0] }) {
      throw MilmError(
        "\(what) differs between hosts: \(control.label(of: 0)) has \(values[0]), "
          + "\(control.label(of: other)) has \(values[other])")
    }
  }
}
