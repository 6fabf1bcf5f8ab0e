import Foundation
import Platform

/// How this process was started: alone, by `mpirun`, by `srun`, or by a script that states its own command line.
package struct Launch: Sendable, Equatable {
  /// The variable in which a script states its command line up to milm's arguments, quoted for a shell.
  package static let variable = "MILM_LAUNCHED_BY"

  /// The command line up to milm's own arguments, quoted for a shell.
  private let start: String
  /// The number of this process among those that were started together, before MPI is initialized.
  package let rank: Int

  /// The launch of this process.
  package static var current: Launch {
    Launch(
      arguments: CommandLine.arguments, environment: ProcessInfo.processInfo.environment,
      ancestors: ancestors())
  }

  /// The launch of a process with these arguments, its program first; `ancestors` are the command lines of its parent, its
  /// parent's parent and so on.
  package init(arguments: [String], environment: [String: String], ancestors: [[String]]) {
    let program = arguments.prefix(1)
    let own = Array(arguments.dropFirst())
    rank = Self.rankVariables.lazy.compactMap { environment[$0].flatMap { Int($0) } }.first ?? 0
    if let script = environment[Self.variable], !script.isEmpty {
      start = script
    } else if let srun = Self.srun(environment) {
      start = shellWords(srun + program)
    } else if let count = environment["OMPI_COMM_WORLD_SIZE"] ?? environment["PMI_SIZE"] {
      let line = ancestors.first { line in
        Self.launchers.contains(line[0].split(separator: "/").last ?? "")
          && line.suffix(own.count) == own[...]
      }
      start = shellWords(line.map { $0.dropLast(own.count) } ?? ["mpirun", "-n", count] + program)
    } else {
      start = shellWords(Array(program))
    }
  }

  /// The `srun` that has started this process, which is no rank of an `mpirun` inside a Slurm job.
  private static func srun(_ environment: [String: String]) -> [String]? {
    guard environment["OMPI_COMM_WORLD_SIZE"] == nil, environment["HYDI_CONTROL_FD"] == nil,
      let count = environment["SLURM_STEP_NUM_TASKS"] ?? environment["SLURM_NTASKS"],
      let manager = [("PMIX_RANK", "pmix"), ("PMI_RANK", "pmi2")].first(where: { environment[$0.0] != nil })
    else { return nil }
    return ["srun", "-n", count, "--mpi=\(manager.1)"]
  }

  /// Those of Open MPI, PMIx, and MPICH's process manager.
  private static let rankVariables = ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"]

  private static let launchers: Set<Substring> = [
    "mpirun", "mpiexec", "orterun", "prterun", "mpiexec.hydra", "mpirun.mpich", "mpiexec.mpich",
    "mpirun.openmpi",
    "mpiexec.openmpi",
  ]

  /// The command line that starts as many processes with other arguments, as it can be pasted into a shell.
  package func commandLine(_ arguments: [String]) -> String {
    "\(start) \(shellWords(arguments))"
  }

  /// The command lines of the processes above this one; one that is not UTF-8 is left out.
  private static func ancestors() -> [[String]] {
    var lines: [[String]] = []
    var process = getppid()
    // mpirun is the parent, or above a wrapper of the user's.
    while process > 1, lines.count < 8 {
      let content = FileManager.default.contents(atPath: "/proc/\(process)/cmdline") ?? Data()
      let words = content.split(separator: 0, omittingEmptySubsequences: false).dropLast()
        .map { String(validating: $0, as: UTF8.self) }
      if !words.isEmpty, words.allSatisfy({ $0 != nil }) { lines.append(words.compactMap { $0 }) }
      guard let parent = Host.value(of: "PPid", in: Host.text("/proc/\(process)/status")) else { break }
      process = pid_t(parent) ?? 0
    }
    return lines
  }
}
