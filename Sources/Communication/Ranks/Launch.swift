import Foundation
import Platform

/// How this process was started: alone, by `mpirun`, by `srun`, or by a script that states its own command line.
package struct Launch: Sendable, Equatable {
  /// The variable in which a script states its command line up to milm's arguments, quoted for a shell.
  package static let variable = "MILM_LAUNCHED_BY"

  /// What comes before milm's own arguments.
  private enum Start: Equatable {
    /// A line, quoted for a shell.
    case line(String)
    /// The words of a launcher that runs on another host, where alone its line is known: its name, its option for hosts, and
    /// what follows that.
    case elsewhere(String, hostOption: String, rest: [String])
  }

  private let start: Start
  /// The number of this process among those that were started together, before MPI is initialized.
  package let rank: Int
  /// Whether no launcher has started this process.
  package let isSingleton: Bool

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
    isSingleton = MPICalls.isSingleton(environment)
    if let script = environment[Self.variable], !script.isEmpty {
      start = .line(script)
    } else if let srun = Self.srun(environment) {
      start = .line(shellWords(srun + program))
    } else if let count = environment["OMPI_COMM_WORLD_SIZE"] ?? environment["PMI_SIZE"] {
      let line = ancestors.first { line in
        Self.isLauncher(line)
          && line.suffix(own.count) == own[...]
      }
      if let line {
        start = .line(shellWords(Self.counted(line.dropLast(own.count), count)))
      } else if environment["OMPI_COMM_WORLD_SIZE"] != nil {
        start = .elsewhere("mpirun", hostOption: "--host", rest: ["-n", count] + program)
      } else {
        start = .elsewhere("mpiexec", hostOption: "-hosts", rest: ["-n", count] + program)
      }
    } else {
      start = .line(shellWords(Array(program)))
    }
  }

  /// The terminal that this process's standard error is relayed to: by `mpirun` on this host, or by a script that names it.
  ///
  /// Nil where there is none, or where `mpirun` decorates lines or writes them elsewhere.
  package static var relayedTerminal: RelayedTerminal? {
    let environment = ProcessInfo.processInfo.environment
    if let text = environment[RelayedTerminal.variable] { return RelayedTerminal(text) }
    let own = CommandLine.arguments.dropFirst()
    guard rankVariables.contains(where: { environment[$0] != nil }),
      let launcher = ancestorProcesses().first(where: {
        isLauncher($0.words) && $0.words.suffix(own.count) == own
      }), !decoratesLines(launcher.words.dropLast(own.count))
    else { return nil }
    return RelayedTerminal(standardErrorOf: launcher.process)
  }

  private static func isLauncher(_ words: [String]) -> Bool {
    launchers.contains(words[0].split(separator: "/").last ?? "")
  }

  /// Whether a launcher's options make its output anything but a copy of the ranks'.
  package static func decoratesLines(_ words: some Sequence<String>) -> Bool {
    let names = ["tag-output", "timestamp-output", "xml", "output", "stream-buffering", "prepend-rank"]
    return words.contains { word in
      word == "-l" || word.hasPrefix("-") && names.contains { word.drop { $0 == "-" }.hasPrefix($0) }
    }
  }

  /// The `srun` that has started this process, which is no rank of an `mpirun` inside a Slurm job.
  private static func srun(_ environment: [String: String]) -> [String]? {
    guard environment["OMPI_COMM_WORLD_SIZE"] == nil, environment["HYDI_CONTROL_FD"] == nil,
      let count = environment["SLURM_STEP_NUM_TASKS"] ?? environment["SLURM_NTASKS"],
      let manager = [("PMIX_RANK", "pmix"), ("PMI_RANK", "pmi2")].first(where: { environment[$0.0] != nil })
    else { return nil }
    let sizes = [("SLURM_STEP_NUM_NODES", "--nodes"), ("SLURM_CPUS_PER_TASK", "--cpus-per-task")]
    return ["srun", "-n", count]
      + sizes.compactMap { name, option in environment[name].map { "\(option)=\($0)" } }
      + ["--mpi=\(manager.1)"]
  }

  /// A launcher's line with the number of ranks, which it may leave to the slots of its hosts.
  private static func counted(_ line: ArraySlice<String>, _ count: String) -> [String] {
    let options: Set = ["-n", "-np", "-c", "--n", "--np", "-N", "--npernode", "-npernode"]
    guard let launcher = line.first, line.allSatisfy({ !options.contains($0) }) else { return Array(line) }
    return [launcher, "-n", count] + line.dropFirst()
  }

  /// Those of Open MPI, PMIx, and MPICH's process manager.
  private static let rankVariables = ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"]

  private static let launchers: Set<Substring> = [
    "mpirun", "mpiexec", "orterun", "prterun", "mpiexec.hydra", "mpirun.mpich", "mpiexec.mpich",
    "mpirun.openmpi", "mpiexec.openmpi",
  ]

  /// The command line that starts as many processes with other arguments, as it can be pasted into a shell.
  ///
  /// `hostNames` are those of the ranks; they are named where the launcher's own line is known on another host alone.
  package func commandLine(_ arguments: [String], hostNames: [String] = []) -> String {
    switch start {
    case .line(let line): return "\(line) \(shellWords(arguments))"
    case .elsewhere(let launcher, let hostOption, let rest):
      return shellWords([launcher] + Self.hosts(hostOption, hostNames) + rest + arguments)
    }
  }

  /// The hosts with their numbers of ranks, in the order of the ranks.
  private static func hosts(_ option: String, _ names: [String]) -> [String] {
    var counts: [(name: String, count: Int)] = []
    for name in names {
      if let index = counts.firstIndex(where: { $0.name == name }) {
        counts[index].count += 1
      } else {
        counts.append((name, 1))
      }
    }
    return counts.isEmpty ? [] : [option, counts.map { "\($0.name):\($0.count)" }.joined(separator: ",")]
  }

  private static func ancestors() -> [[String]] { ancestorProcesses().map(\.words) }

  /// The processes above this one with their command lines; one that is not UTF-8 is left out.
  private static func ancestorProcesses() -> [(process: pid_t, words: [String])] {
    var lines: [(process: pid_t, words: [String])] = []
    var process = getppid()
    // mpirun is the parent, or above a wrapper of the user's.
    while process > 1, lines.count < 8 {
      let content = FileManager.default.contents(atPath: "/proc/\(process)/cmdline") ?? Data()
      let words = content.split(separator: 0, omittingEmptySubsequences: false).dropLast()
        .map { String(validating: $0, as: UTF8.self) }
      if !words.isEmpty, words.allSatisfy({ $0 != nil }) { lines.append((process, words.compactMap { $0 })) }
      guard let parent = Host.value(of: "PPid", in: Host.text("/proc/\(process)/status")) else { break }
      process = pid_t(parent) ?? 0
    }
    return lines
  }
}
