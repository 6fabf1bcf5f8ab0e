import Foundation
import Platform

/// This process as a rank of an MPI job: alone when it was not started by `mpirun` or `srun`.
///
/// The gradients, snapshots on their way to rank 0, the control traffic (start, checkpoints, evaluation) and the report of a
/// failure each have a communicator of their own, so that their messages never mix.
package final class MPIWorld: Sendable {
  /// For the exchange of gradients only.
  package let gradients: MPICommunicator
  /// For the shards of a snapshot, sent beside training.
  package let snapshots: MPICommunicator
  /// For everything else.
  package let control: MPICommunicator
  private let failures: MPICommunicator
  private let calls = MPICalls()
  private let heartbeat: Heartbeat

  /// Default limit of the start, in seconds: other ranks may read much from slow disks.
  package static let defaultStartSeconds = 600.0
  /// Default limits of the time without a heartbeat.
  private static let heartbeatLimits = StallLimits(warnSeconds: 10, abortSeconds: 30, warn: printLine)

  /// Starts MPI; once per process.
  ///
  /// Where it takes longer than `startSeconds`, because a rank does not start or a host does not answer, the process
  /// ends with status 1 and a line that says so. With `limitsStart` ranks wait no longer than that for each other in
  /// any one operation, until `Liveness.endStartTimeout`.
  ///
  /// `fault` corrupts what is received, in tests.
  package init(
    startSeconds: Double = MPIWorld.defaultStartSeconds, limitsStart: Bool = false,
    fault: ReceptionFault? = nil
  ) throws {
    let launch = try Self.startTimeout(seconds: startSeconds)
    defer { launch.end() }
    try calls.start()
    let world = try MPIGroup.world(calls)
    let layout = NodeLayout(nodeOfRank: try world.firstRanksOfNodes())
    let hostNames = layout.displayNames(try world.gatherHostNames())
    let heartbeat = Heartbeat(
      try world.duplicated(), activity: RankActivity(), limits: Self.heartbeatLimits,
      startTimeoutSeconds: limitsStart ? startSeconds : .infinity)
    func communicator(_ liveness: (any Liveness)?) throws -> MPICommunicator {
      MPICommunicator(
        try world.duplicated(), hostNames: hostNames, layout: layout, liveness: liveness, fault: fault)
    }
    self.heartbeat = heartbeat
    gradients = try communicator(heartbeat)
    snapshots = try communicator(heartbeat)
    control = try communicator(heartbeat)
    failures = try communicator(nil)
    try heartbeat.start()
    if hostNames.count > 1 {
      try Watchdog(label: control.label(of: control.rank), liveness: heartbeat).start()
    }
    // MPI's own collectives, which have no checksums, have gathered them.
    let gathered = XXH64.hash(of: "\(layout.nodes) \(hostNames)")
    let all = try control.allGatherValues("compare the hosts of the job", [gathered])
    guard all.allSatisfy({ $0 == [gathered] }) else {
      throw MilmError(
        "hosts of the job: expected the same on all ranks, found others (a message was corrupted)")
    }
  }

  /// Ends this process where MPI does not start in time: until then no rank can detect what others do.
  private static func startTimeout(seconds: Double) throws -> Timeout {
    try Timeout(seconds: seconds, name: "launch") {
      printLine(
        "\(ProcessInfo.processInfo.hostName): MPI has not started in \(seconds) s: "
          + "expected all ranks to start, found that one has not, or that a host does not answer")
      fflush(nil)
      _exit(1)
    }
  }

  /// Ends MPI after all ranks have called it; no communicator may be used afterwards.
  package func finish() throws {
    try control.barrier("finish")
    heartbeat.stop()
    try gradients.freeSharedMemory()
    try calls.finish()
  }

  /// The MPI library's name and version.
  package static var libraryVersion: String { MPICalls.libraryVersion }

  /// The transports Open MPI has selected.
  package var transports: MPITransports { calls.transports }
}

/// Runs `body` as one rank of a job and ends the process with the status it returns.
///
/// An error ends the job on all ranks with status 1. If all ranks throw the same, rank 0 alone prints it;
/// otherwise each prints `rank r:` and its own, because the others would wait for a rank that is gone.
///
/// With `startSeconds` ranks wait no longer for each other at any point of the start, which the program ends with
/// `Liveness.endStartTimeout`; without, only the start of MPI itself is limited.
package func onRanks(
  startSeconds: Double? = nil, fault: ReceptionFault? = nil, _ body: (MPIWorld) throws -> Int32
) -> Never {
  let world: MPIWorld
  do {
    world = try MPIWorld(
      startSeconds: startSeconds ?? MPIWorld.defaultStartSeconds, limitsStart: startSeconds != nil,
      fault: fault)
  } catch {
    printLine("\(error)")
    exit(1)
  }
  do {
    let status = try body(world)
    try world.finish()
    exit(status)
  } catch {
    world.end(because: "\(error)")
  }
}

extension MPIWorld {
  /// Seconds a rank that fails waits for the others to fail alike.
  private static let agreementSeconds = 1.0
  /// Seconds the other ranks leave rank 0 to print an error of all.
  private static let printingSeconds: UInt32 = 2

  fileprivate func end(because message: String) -> Never {
    if control.rankCount == 1 {
      printLine(message)
      try? finish()
    } else if !allFail(with: message) {
      control.abort(message)
    } else if control.rank == 0 {
      printLine(message)
      control.end()
    } else {
      sleep(Self.printingSeconds)
      control.end()
    }
    exit(1)
  }

  /// Whether all ranks fail within a short time, with the same message.
  private func allFail(with message: String) -> Bool {
    let limits = StallLimits(
      warnSeconds: .infinity, abortSeconds: Self.agreementSeconds, warn: { _ in })
    guard let messages = try? failures.allGather("failure", Array(message.utf8), limits: limits) else {
      return false
    }
    return messages.allSatisfy { $0.elementsEqual(message.utf8) }
  }
}

/// Writes one line to standard error, in one piece, so that lines of ranks do not mix.
func printLine(_ line: String) {
  StandardStream.error.note(line)
}
