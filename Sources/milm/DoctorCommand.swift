import ArgumentParser
import Communication
import Dispatch
import Foundation
import Measurement
import Reporting
import Training

/// `milm doctor`: what every rank finds where it runs, and what to change.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Looks at processors, libraries, binding, links, disk and clocks, and says what to change.",
    discussion: """
      Under mpirun it looks at every rank and measures the links between neighbouring hosts.

      Examples:
        milm doctor --json
        cluster/launch.sh -n 4 --hostfile cluster/jobs/hosts.example -- doctor
      """)

  @Option(help: "Seconds until ranks that do not find each other are given up.")
  var timeLimit = 60.0

  @Flag(help: "Print the result as one line of JSON.")
  var json = false

  func validate() throws {
    if !(timeLimit > 0) {
      throw ValidationError("--time-limit: expected seconds above 0, found \(timeLimit)")
    }
  }

  func run() throws {
    let deadline = Deadline(seconds: timeLimit)
    onRanks { world in
      let control = world.control
      let facts = RankFacts(
        host: control.hostNames[control.rank], version: programVersion, transports: world.transports)
      let diagnosis = try Diagnosis(facts, communicator: control)
      deadline.cancel()
      guard control.rank == 0 else { return 0 }
      if json { try printJSON(diagnosis) } else { show(diagnosis) }
      return 0
    }
  }

  private func show(_ diagnosis: Diagnosis) {
    let first = diagnosis.ranks[0]
    var rows = [
      ("milm", first.version),
      ("processor", "\(first.processor), \(first.hostProcessorCount) of them"),
      ("instructions", first.instructionSets.joined(separator: " ")),
      ("products", first.engine),
      ("MPI", first.mpi),
      (
        "settings of MPI",
        first.mpiSettings.sorted { $0.key < $1.key }.map { "\($0)=\($1)" }.joined(separator: " ")
      ),
      ("transports of MPI", first.transports.summary),
      ("interfaces", first.interfaces.joined(separator: " ")),
      ("for MPI's TCP", tcpInterfaces(first)),
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
    printTable(rows.filter { !$0.1.isEmpty })
    print(diagnosis.advice.isEmpty ? "\nNothing to change." : "\nTo change:")
    for line in diagnosis.advice { print("- \(line)") }
  }

  /// The interfaces and what has chosen them; empty where MPI does not use TCP.
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

/// Ends the process where what it waits for does not come: MPI itself waits for ever for a host that it cannot reach.
private final class Deadline {
  private let timer: any DispatchSourceTimer

  init(seconds: Double) {
    timer = DispatchSource.makeTimerSource(queue: .global(qos: .userInteractive))
    timer.schedule(deadline: .now() + seconds)
    timer.setEventHandler {
      let interfaces = RankFacts.interfaceNames.joined(separator: ", ")
      let line =
        "milm: expected all ranks to find each other within \(Int(seconds)) s, found that they did not; "
        + "this host has the interfaces \(interfaces): choose one with cluster/launch.sh --interface\n"
      FileHandle.standardError.write(Data(line.utf8))
      _exit(1)
    }
    timer.activate()
  }

  func cancel() { timer.cancel() }
}
