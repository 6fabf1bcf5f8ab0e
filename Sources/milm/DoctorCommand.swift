import ArgumentParser
import Communication
import Foundation
import Measurement
import Platform
import Reporting
import Training

/// `milm doctor`: checks the hosts of a job and advises what to change.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Checks processors, libraries, binding, links, disk and clocks, and advises what to change.",
    discussion: """
      Under mpirun it checks every rank and measures the links between neighboring hosts.

      Examples:
        milm doctor --json
        cluster/launch.sh -n 4 --hostfile cluster/jobs/hosts.example -- doctor
      """)

  @Option(help: .init("Connection timeout in seconds.", valueName: "SECONDS"))
  var timeLimit = 60.0

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func validate() throws {
    if !(timeLimit > 0) {
      throw ValidationError("--time-limit: expected seconds above 0, found \(timeLimit)")
    }
  }

  func run() throws {
    let deadline = try timeout()
    onRanks { world in
      let control = world.control
      let facts = RankFacts(
        host: control.hostNames[control.rank], version: programVersion, transports: world.transports)
      let diagnosis = try Diagnosis(facts, communicator: control)
      deadline.end()
      guard control.rank == 0 else { return 0 }
      if json { try printJSON(diagnosis) } else { try show(diagnosis) }
      return 0
    }
  }

  /// Ends the process where ranks do not find each other: MPI itself waits forever for a host that it cannot reach.
  private func timeout() throws -> Timeout {
    try Timeout(seconds: timeLimit, name: "doctor") { [timeLimit] in
      let interfaces = RankFacts.interfaceNames.joined(separator: ", ")
      printMessage(
        "expected all ranks to find each other within \(Int(timeLimit)) s, found that they did not; "
          + "this host has the interfaces \(interfaces): choose one with cluster/launch.sh --interface")
      _exit(1)
    }
  }

  private func show(_ diagnosis: Diagnosis) throws {
    let first = diagnosis.ranks[0]
    var rows = [
      ("milm", first.version),
      ("processor", "\(first.hostProcessorCount) × \(first.processor)"),
      ("instructions", first.instructionSets.joined(separator: " ")),
      ("engine", first.engine),
      ("MPI", first.mpi),
      (
        "MPI settings",
        first.mpiSettings.sorted { $0.key < $1.key }.map { "\($0)=\($1)" }.joined(separator: " ")
      ),
      ("MPI transports", first.transports.summary),
      ("interfaces", first.interfaces.joined(separator: " ")),
      ("MPI over TCP", tcpInterfaces(first)),
      (
        "free",
        "\(Readable.byteCount(first.memoryByteCount)) memory, \(Readable.byteCount(first.diskByteCount)) disk here, "
          + "\(Readable.byteCount(first.sharedMemoryByteCount)) shared memory"
      ),
    ]
    for (rank, facts) in diagnosis.ranks.enumerated() {
      rows.append(
        (
          "rank \(rank)",
          "\(facts.host), \(facts.threadCount) threads on \(facts.processorCount) of \(facts.hostProcessorCount) processors"
            + (facts.processorQuota.map { String(format: ", time of %.2f", $0) } ?? "")
            + (HostLoad.disturbs(facts.otherLoad, of: facts.hostProcessorCount)
              ? String(format: ", %.2f busy", facts.otherLoad) : "")
            + (rank == 0 ? "" : String(format: ", clock %+.1f ms", 1e3 * diagnosis.clockOffsets[rank]))
        ))
    }
    for link in diagnosis.links {
      rows.append(
        (
          "link",
          String(
            format: "%@ – %@: %.2f Gbit/s, %.0f µs", link.from, link.to, link.gigabitsPerSecond,
            1e6 * link.latencySeconds)
        ))
    }
    try printTable(rows.filter { !$0.1.isEmpty })
    try printResult(diagnosis.advice.isEmpty ? "\nNo advice." : "\nAdvice:")
    for line in diagnosis.advice { try printResult("- \(line)") }
  }

  /// The interfaces and the setting that selects them; empty where MPI does not use TCP.
  private func tcpInterfaces(_ facts: RankFacts) -> String {
    let transports = facts.transports
    guard transports.usesTCP else { return "" }
    let names = facts.tcpInterfaces.isEmpty ? "none" : facts.tcpInterfaces.joined(separator: " ")
    let (variable, list) =
      transports.tcpIncluded.isEmpty
      ? ("btl_tcp_if_exclude", transports.tcpExcluded) : ("btl_tcp_if_include", transports.tcpIncluded)
    return list.isEmpty ? names : "\(names), by \(variable)=\(list.joined(separator: ","))"
  }
}
