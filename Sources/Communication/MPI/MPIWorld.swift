import CMPI
import Foundation
import Platform

/// This process as a rank of an MPI job: alone when it was not started by `mpirun` or `srun`.
///
/// The gradients, snapshots on their way to rank 0, the control traffic (start, checkpoints, evaluation) and the report of a
/// failure each have a communicator of their own, so that they never take each other's messages.
public final class MPIWorld: Sendable {
  /// For the exchange of gradients only.
  public let gradients: MPICommunicator
  /// For what one rank alone has of a snapshot, beside training.
  public let snapshots: MPICommunicator
  /// For everything else.
  public let control: MPICommunicator
  let failures: MPICommunicator
  let calls: MPICalls
  private let heartbeat: Heartbeat

  /// Starts MPI; once a process.
  ///
  /// Where it takes longer than `startSeconds`, because a rank does not come or a host does not answer, the process
  /// ends with status 1 and a line that says so. With `limitsStart` ranks wait no longer than that for each other in
  /// any one operation, until `Liveness.liftStartLimit`.
  public init(startSeconds: Double = MPIWorld.defaultStartSeconds, limitsStart: Bool = false) throws {
    let launch = LaunchWatch(seconds: startSeconds)
    defer { launch.end() }
    Self.prepareOpenMPI()
    let calls = MPICalls()
    self.calls = calls
    var granted: CInt = 0
    try calls.call("MPI_Init_thread") {
      MPI_Init_thread(nil, nil, CInt(MPI_THREAD_SERIALIZED), &granted)
    }
    guard granted >= CInt(MPI_THREAD_SERIALIZED) else {
      throw MilmError(
        "MPI_Init_thread: expected thread level \(MPI_THREAD_SERIALIZED) (serialized), found \(granted)")
    }
    try calls.call("MPI_Comm_set_errhandler") { CMPI_returnErrors(CMPI_commWorld()) }
    let hostNames = try Self.gatherHostNames(calls)
    let layout = try Self.layout(calls, rankCount: hostNames.count)
    let heartbeat = try Self.heartbeat(
      calls, hostNames: hostNames, patienceSeconds: limitsStart ? startSeconds : .infinity)
    self.heartbeat = heartbeat
    gradients = try MPICommunicator(calls, hostNames: hostNames, layout: layout, liveness: heartbeat)
    snapshots = try MPICommunicator(calls, hostNames: hostNames, layout: layout, liveness: heartbeat)
    control = try MPICommunicator(calls, hostNames: hostNames, layout: layout, liveness: heartbeat)
    failures = try MPICommunicator(calls, hostNames: hostNames, layout: layout, liveness: nil)
    heartbeat.start()
    if hostNames.count > 1 {
      Watchdog(label: control.label(of: control.rank), liveness: heartbeat).start()
    }
  }

  /// Ends MPI after all ranks have come here; no communicator may be used afterwards.
  public func finish() throws {
    try control.barrier("finish")
    heartbeat.stop()
    try gradients.freeSharedMemory()
    try calls.call("MPI_Finalize") { MPI_Finalize() }
  }

  /// Seconds that a start may take where nothing else is said: other ranks may read much from slow disks.
  public static let defaultStartSeconds = 600.0

  /// Settings that this program needs, unless the user has others.
  private static func prepareOpenMPI() {
    // A process alone would start Open MPI's daemon, which takes time and needs ssh on the path.
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0)
    // With "put", the answer that a large message waits for queues behind the whole message that goes the other way:
    // then the two directions of a link take turns.
    setenv("OMPI_MCA_btl_tcp_flags", "send,inplace", 0)
    // Waiting sleeps (`WaitPace`). A core given up is back only when the computing thread's time slice is over,
    // and until then nothing is received.
    setenv("OMPI_MCA_mpi_yield_when_idle", "0", 0)
  }

  /// How long a rank may give no sign of life where nothing else is said.
  private static let silenceLimits = StallLimits(warnSeconds: 10, abortSeconds: 30, warn: printLine)

  private static func heartbeat(
    _ calls: MPICalls, hostNames: [String], patienceSeconds: Double
  ) throws -> Heartbeat {
    var communicator: MPI_Comm?
    var rank: CInt = 0
    try calls.call("MPI_Comm_dup") { MPI_Comm_dup(CMPI_commWorld(), &communicator) }
    try calls.call("MPI_Comm_set_errhandler") { CMPI_returnErrors(communicator) }
    try calls.call("MPI_Comm_rank") { MPI_Comm_rank(communicator, &rank) }
    return Heartbeat(
      calls, communicator, rank: Int(rank), rankCount: hostNames.count, activity: RankActivity(),
      limits: silenceLimits, patienceSeconds: patienceSeconds)
  }

  /// Asks MPI which ranks share memory: a node is known by its first rank.
  private static func layout(_ calls: MPICalls, rankCount: Int) throws -> NodeLayout {
    var node: MPI_Comm?
    var rank: CInt = 0
    try calls.call("MPI_Comm_rank") { MPI_Comm_rank(CMPI_commWorld(), &rank) }
    try calls.call("MPI_Comm_split_type") {
      MPI_Comm_split_type(CMPI_commWorld(), CMPI_typeShared(), rank, CMPI_infoNull(), &node)
    }
    var first = rank
    try calls.call("MPI_Bcast") { MPI_Bcast(&first, 4, CMPI_byte(), 0, node) }
    var firsts = [CInt](repeating: 0, count: rankCount)
    try calls.call("MPI_Allgather") {
      MPI_Allgather(&first, 4, CMPI_byte(), &firsts, 4, CMPI_byte(), CMPI_commWorld())
    }
    try calls.call("MPI_Comm_free") { MPI_Comm_free(&node) }
    return NodeLayout(nodeOfRank: firsts.map(Int.init))
  }

  private static func gatherHostNames(_ calls: MPICalls) throws -> [String] {
    let capacity = Int(MPI_MAX_PROCESSOR_NAME)
    var rankCount: CInt = 0
    try calls.call("MPI_Comm_size") { MPI_Comm_size(CMPI_commWorld(), &rankCount) }
    let names = UnsafeMutablePointer<CChar>.allocate(capacity: capacity * (Int(rankCount) + 1))
    defer { names.deallocate() }
    names.initialize(repeating: 0, count: capacity * (Int(rankCount) + 1))
    let own = names + capacity * Int(rankCount)
    var length: CInt = 0
    try calls.call("MPI_Get_processor_name") { MPI_Get_processor_name(own, &length) }
    try calls.call("MPI_Allgather") {
      MPI_Allgather(
        own, CInt(capacity), CMPI_byte(), names, CInt(capacity), CMPI_byte(), CMPI_commWorld())
    }
    return (0..<Int(rankCount)).map { String(cString: names + $0 * capacity) }
  }
}
