import Communication
import Foundation
import Platform
import Tensors

/// What one rank finds where it runs.
package struct RankFacts: Codable, Sendable, Equatable {
  /// The rank's host.
  package var host = ""
  /// The processor's name.
  package var processor = ""
  /// Instruction sets that products profit from: avx2, avx512f, avx512_bf16, amx_bf16.
  package var instructionSets: [String] = []
  /// Processors of the host.
  package var hostProcessorCount = 0
  /// Processors that this rank may run on.
  package var processorCount = 0
  /// Their set, in hexadecimal as the kernel writes it.
  package var processorMask = ""
  /// Compute threads that a training takes where its configuration says `auto`.
  package var threadCount = 0
  /// Library, version, instruction set and precision of products where bfloat16 is asked for.
  package var engine = ""
  /// Why products are not of bfloat16 numbers; nil where they are.
  package var engineNote: String?
  /// The MPI library.
  package var mpi = ""
  /// `OMPI_MCA_…` of the environment, that of mpirun's own left out.
  package var mpiSettings: [String: String] = [:]
  /// What MPI has chosen to move messages with.
  package var transports = MPITransports()
  /// Network interfaces that are up, the loopback left out.
  package var interfaces: [String] = []
  /// Network interfaces that MPI's TCP may use; none where it does not use TCP.
  package var tcpInterfaces: [String] = []
  /// Bytes of memory that programs may take.
  package var memoryByteCount = 0
  /// Free bytes where this rank was started.
  package var diskByteCount = 0
  /// Free bytes of shared memory.
  package var sharedMemoryByteCount = 0
  /// The program's version.
  package var version = ""

  /// This host's network interfaces that are up, the loopback left out.
  package static var interfaceNames: [String] {
    NetworkInterface.ofThisHost.map(\.name).filter { $0 != "lo" }
  }

  /// Facts to be filled in.
  package init() {}

  /// What this process finds; takes some milliseconds.
  package init(host: String, version: String, transports: MPITransports) {
    let information = Host.text("/proc/cpuinfo")
    let flags = Set(
      (Host.value(of: "flags", in: information) ?? "").split(separator: " ").map(String.init))
    let engine = ComputeEngine(threadCount: 1, precision: .bfloat16)
    let allowed = Processors.allowed
    self.host = host
    self.version = version
    processor = Host.processorName ?? "unknown"
    instructionSets = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "sve", "bf16"].filter(
      flags.contains)
    hostProcessorCount = max(1, information.split(separator: "\n").count { $0.hasPrefix("processor") })
    processorCount = allowed.count
    processorMask = allowed.mask
    self.engine = engine.summary
    engineNote = engine.precisionNote
    mpi = MPIWorld.libraryVersion
    let own = ["OMPI_MCA_orte_", "OMPI_MCA_ess_", "OMPI_MCA_pmix_", "OMPI_MCA_initial_"]
    mpiSettings = ProcessInfo.processInfo.environment.filter { name, _ in
      name.hasPrefix("OMPI_MCA_") && !own.contains { name.hasPrefix($0) }
    }
    self.transports = transports
    interfaces = Self.interfaceNames
    if transports.usesTCP {
      tcpInterfaces = NetworkInterface.ofThisHost.filter {
        $0.serves(including: transports.tcpIncluded, excluding: transports.tcpExcluded)
      }.map(\.name)
    }
    memoryByteCount = Host.availableByteCount ?? 0
    diskByteCount = Host.freeByteCount(FileManager.default.currentDirectoryPath) ?? 0
    sharedMemoryByteCount = Host.freeByteCount("/dev/shm") ?? 0
  }
}
