import Platform
import Tensors

/// The ranks of a job, with a communicator each for gradients, for snapshots and for everything else.
package struct Ranks: Sendable {
  /// Start, checkpoints and evaluation; used between steps.
  package let control: any Communicator
  /// Gradients alone; used by the exchange's own thread.
  package let gradients: any Communicator
  /// Shards on their way to rank 0 while training continues.
  package let snapshots: any Communicator

  /// The ranks of three communicators over the same processes.
  package init(control: any Communicator, gradients: any Communicator, snapshots: any Communicator) {
    self.control = control
    self.gradients = gradients
    self.snapshots = snapshots
  }

  /// The ranks of an MPI job.
  package init(_ world: MPIWorld) {
    self.init(control: world.control, gradients: world.gradients, snapshots: world.snapshots)
  }

  /// The number of this rank.
  package var rank: Int { control.rank }
  package var rankCount: Int { control.rankCount }
  /// The rank that reads the configuration, writes the run and evaluates.
  package static let coordinator = 0
  /// Whether this is the coordinator.
  package var isCoordinator: Bool { rank == Self.coordinator }

  /// Whether this is the first rank on its host: it does what is done once per host.
  package var isFirstOnHost: Bool {
    control.layout.localIndex(of: rank) == 0
  }

  /// The number of ranks on this rank's host.
  package var countOnHost: Int {
    control.layout.nodes[control.layout.node(of: rank)].count
  }

  package var hostCount: Int { control.layout.nodeCount }

  /// Runs `body` on every rank, and throws on all of them where it throws on one, so that no rank waits for a failed one.
  ///
  /// The error is the same everywhere: that of the lowest rank, with its host unless all ranks have the same.
  package func onAllRanks<Value>(_ name: String, _ body: () throws -> Value) throws -> Value {
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

  /// Runs `body` on rank 0 and throws on all ranks where it throws; returns its value there and nil elsewhere.
  package func onCoordinator<Value>(_ name: String, _ body: () throws -> Value) throws -> Value? {
    let result = isCoordinator ? Result { try body() } : nil
    var message = ""
    if case .failure(let error) = result { message = "\(error)" }
    let shared = try control.broadcast(name, Array(message.utf8), from: Self.coordinator)
    guard shared.isEmpty else { throw MilmError(String(decoding: shared, as: UTF8.self)) }
    return try result?.get()
  }

  /// Rank 0's value on all ranks; those of the others are ignored.
  package func broadcast(_ claim: Bool) throws -> Bool {
    try control.broadcast("a decision", [claim ? 1 : 0], from: Self.coordinator) == [1]
  }

  /// Throws on all ranks where `value` differs between them; the error names the first host that differs from rank 0.
  package func requireSame(_ what: String, _ value: String) throws {
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
