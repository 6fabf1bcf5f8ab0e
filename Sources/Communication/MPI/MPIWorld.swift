import CMPI
import Foundation

/// This process as a rank of an MPI job: alone when it was not started by `mpirun` or `srun`.
///
/// The gradients, the control traffic (start, checkpoints, evaluation) and the report of a failure each have
/// a communicator of their own, so that they never take each other's messages.
public final class MPIWorld: Sendable {
  /// For the exchange of gradients only.
  public let gradients: MPICommunicator
  /// For everything else.
  public let control: MPICommunicator
  let failures: MPICommunicator
  private let calls: MPICalls

  /// Starts MPI; once a process.
  public init() throws {
    // A process alone would start Open MPI's daemon, which takes time and needs ssh on the path.
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0)
    let calls = MPICalls()
    self.calls = calls
    var granted: CInt = 0
    try calls.call("MPI_Init_thread") {
      MPI_Init_thread(nil, nil, CInt(MPI_THREAD_SERIALIZED), &granted)
    }
    guard granted >= CInt(MPI_THREAD_SERIALIZED) else {
      throw CommunicationError(
        "MPI_Init_thread: expected thread level \(MPI_THREAD_SERIALIZED) (serialized), found \(granted)")
    }
    try calls.call("MPI_Comm_set_errhandler") { CMPI_returnErrors(CMPI_commWorld()) }
    let hostNames = try Self.gatherHostNames(calls)
    gradients = try MPICommunicator(calls, hostNames: hostNames)
    control = try MPICommunicator(calls, hostNames: hostNames)
    failures = try MPICommunicator(calls, hostNames: hostNames)
  }

  /// Ends MPI after all ranks have come here; no communicator may be used afterwards.
  public func finish() throws {
    try control.barrier("finish")
    try calls.call("MPI_Finalize") { MPI_Finalize() }
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
