import Communication
import Foundation
import Platform
import Tensors

/// Facts about a rank and its host.
package struct RankFacts: Codable, Sendable, Equatable {
  /// The name of the rank's host.
  package var host = ""
  /// The number of the host: ranks of the same number share memory.
  package var node = 0
  /// The processor's name.
  package var processor = ""
  /// Instruction sets of matrix products that this process may use: avx2, avx512f, avx512_bf16, amx_bf16.
  package var instructionSets: [String] = []
  /// Online processors of the host, whatever this process may use.
  package var hostProcessorCount = 0
  /// Processors that this rank may run on.
  package var processorCount = 0
  /// Their set, in hexadecimal as the kernel writes it.
  package var processorMask = ""
  /// The limit of processor time of a container or batch job, in processors; nil if there is none.
  package var processorQuota: Double?
  /// Compute threads of a training with `training.threads: auto`.
  package var threadCount = 0
  /// Library, version, instruction set and precision of matrix products in bfloat16.
  package var engine = ""
  /// The kernels that OpenBLAS has chosen, by the name of their first processor.
  package var openBLASCore = ""
  /// Whether OpenBLAS computes the matrix products.
  package var usesOpenBLAS = false
  /// Why matrix products are not in bfloat16; nil where they are.
  package var engineNote: String?
  /// Whether this build has oneDNN.
  package var hasOneDNN = ComputeEngine.hasOneDNN
  /// The MPI library.
  package var mpi = ""
  /// `OMPI_MCA_…` of the environment, except those that mpirun sets itself.
  package var mpiSettings: [String: String] = [:]
  /// The transports that MPI has chosen.
  package var transports = MPITransports()
  /// Network interfaces that are up, without the loopback.
  package var interfaces: [String] = []
  /// Network interfaces that MPI's TCP may use; none where it does not use TCP.
  package var tcpInterfaces: [String] = []
  /// Processors of the host that other programs keep busy.
  package var otherLoad = 0.0
  /// Bytes of memory available to the rank's host, or to its container or batch job.
  package var memoryByteCount = 0
  /// The limit of memory of a container or batch job in bytes; nil if there is none.
  package var memoryLimitByteCount: Int?
  /// Free bytes of disk in the working directory.
  package var diskByteCount = 0
  /// Free bytes of shared memory.
  package var sharedMemoryByteCount = 0
  /// The program's version.
  package var version = ""

  /// This host's network interfaces that are up, without the loopback.
  package static var interfaceNames: [String] {
    NetworkInterface.ofThisHost.map(\.name).filter { $0 != "lo" }
  }

  /// The settings of Open MPI that a user has made, without those that `mpirun` of version 4 or 5 adds for its ranks.
  package static func mpiSettings(in environment: [String: String]) -> [String: String] {
    let added = [
      "orte_", "ess_", "pmix_", "initial_", "PREFIXES", "num_procs", "cpu_type", "shmem_RUNTIME_QUERY_hint",
    ]
    return environment.filter { name, _ in
      name.hasPrefix("OMPI_MCA_") && !added.contains { name.dropFirst("OMPI_MCA_".count).hasPrefix($0) }
    }
  }

  /// Facts to be filled in.
  package init() {}

  /// The facts of this process; takes some milliseconds.
  package init(host: String, version: String, transports: MPITransports) {
    let engine = ComputeEngine(precision: .bfloat16)
    let allowed = Processors.allowed
    self.host = host
    self.version = version
    processor = Host.processorName ?? "unknown"
    instructionSets = ComputeEngine.instructionSets
    hostProcessorCount = Host.processorCount
    processorCount = allowed.count
    processorMask = allowed.mask
    processorQuota = allowed.quota?.processors
    self.engine = engine.summary
    openBLASCore = ComputeEngine(library: .openBLAS).cpuLevel
    usesOpenBLAS = engine.library == .openBLAS
    engineNote = engine.precisionNote
    mpi = MPIWorld.libraryVersion
    mpiSettings = Self.mpiSettings(in: ProcessInfo.processInfo.environment)
    self.transports = transports
    interfaces = Self.interfaceNames
    if transports.usesTCP {
      tcpInterfaces = NetworkInterface.ofThisHost.filter {
        $0.serves(including: transports.tcpIncluded, excluding: transports.tcpExcluded)
      }.map(\.name)
    }
    let group = ControlGroups().memory
    memoryByteCount = min(Host.availableByteCount ?? 0, group?.availableByteCount ?? .max)
    memoryLimitByteCount = group?.limitByteCount
    diskByteCount = Host.freeByteCount(FileManager.default.currentDirectoryPath) ?? 0
    sharedMemoryByteCount = Host.freeByteCount("/dev/shm") ?? 0
  }
}
