import Communication
import Foundation

/// The result of a program that a test has run.
package struct ProgramRun: Sendable {
  /// The exit status, or the number of the signal that ended it.
  package let status: Int32
  /// What it printed to standard output.
  package let output: String
  /// What it printed to standard error.
  package let errors: String

  /// Everything, for the message of an expectation.
  package var transcript: String { "status \(status)\n\(output)\n\(errors)" }
}

/// The path of one of this package's programs, which are beside the test runner.
package func program(_ name: String) -> String {
  let folder = Bundle.main.executableURL?.deletingLastPathComponent() ?? URL(filePath: ".")
  return folder.appendingPathComponent(name).path
}

/// Runs a program and waits for its end.
package func start(
  _ arguments: [String], environment added: [String: String] = [:], standardInput: FileHandle? = nil
) throws -> ProgramRun {
  try RunningProgram(arguments, environment: added, standardInput: standardInput).wait()
}

/// A program that a test has started.
package final class RunningProgram {
  private let process = Process()
  private let outputReader: PipeReader
  private let errorReader: PipeReader

  /// Starts a program.
  package init(
    _ arguments: [String], environment added: [String: String] = [:], standardInput: FileHandle? = nil
  ) throws {
    let output = Pipe()
    let errors = Pipe()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(added) { $1 }
    process.standardInput = standardInput ?? FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = errors
    let process = process
    try Self.withAllSignals { try process.run() }
    // Both pipes are read concurrently: a program that fills one of them would otherwise wait forever.
    outputReader = PipeReader(output)
    errorReader = PipeReader(errors)
  }

  /// Tests run on threads that block all signals, which a program inherits from the thread that starts it.
  private static func withAllSignals(_ body: () throws -> Void) rethrows {
    var none = sigset_t()
    var before = sigset_t()
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try body()
  }

  /// Its process id.
  package var processID: Int32 { process.processIdentifier }

  /// The ids of its child processes: under `mpirun`, the ranks of this host.
  package var childProcessIDs: [Int32] {
    let children = Self.children(of: processID)
    // MPICH has one process between.
    return usesOpenMPI || children.count != 1 ? children : Self.children(of: children[0])
  }

  private static func children(of process: Int32) -> [Int32] {
    let text = try? String(contentsOfFile: "/proc/\(process)/task/\(process)/children", encoding: .utf8)
    return (text ?? "").split(separator: " ").compactMap { Int32($0) }
  }

  /// Whether `text` appears on its standard error in time.
  package func says(_ text: String, withinSeconds seconds: Double = 30) -> Bool {
    errorReader.waits(for: text, seconds: seconds)
  }

  /// Waits for its end.
  package func wait() -> ProgramRun {
    let output = outputReader.text()
    let errors = errorReader.text()
    process.waitUntilExit()
    return ProgramRun(status: process.terminationStatus, output: output, errors: errors)
  }
}

/// Whether the tests are built with Open MPI; otherwise it is MPICH or a relative of it.
package let usesOpenMPI = MPILibrary.isOpenMPI

/// The command line that runs a program under `mpirun`, which kills it after `timeoutSeconds`: that of the MPI library that
/// the tests are built with.
package func mpirunArguments(_ rankCount: Int, timeoutSeconds: Int = 60) -> [String] {
  guard usesOpenMPI else {
    let launchers = ["mpirun.mpich", "mpiexec.hydra", "mpirun"]
    let path = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
    let launcher = launchers.first { name in
      path.contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(name)") }
    }
    return ["env", "MPIEXEC_TIMEOUT=\(timeoutSeconds)", launcher ?? "mpirun", "-n", "\(rankCount)"]
  }
  return [
    "mpirun", "--oversubscribe", "--bind-to", "none", "--timeout", "\(timeoutSeconds)", "-n",
    "\(rankCount)",
  ]
}

/// The environment that lets root run `mpirun`.
package let mpirunEnvironment = ["OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"]

/// The statuses with which `mpirun` ends after its time limit: of Open MPI 4 and 5 and of MPICH.
package let mpirunTimeoutStatuses: Set<Int32> = [110, 241, 255]

/// The status with which `mpirun` ends after a rank has been killed.
package let mpirunKilledStatus: Int32 = usesOpenMPI ? 128 + SIGKILL : SIGKILL

/// Runs a program under `mpirun`, which kills it after `timeoutSeconds`.
///
/// The test runner never calls MPI itself, because then it could not run `mpirun`.
package func mpirun(
  _ rankCount: Int, _ arguments: [String], environment: [String: String] = [:], timeoutSeconds: Int = 60
) throws -> ProgramRun {
  try start(
    mpirunArguments(rankCount, timeoutSeconds: timeoutSeconds) + arguments,
    environment: mpirunEnvironment.merging(environment) { $1 })
}

/// Reads a pipe to its end on a separate thread.
///
/// `@unchecked Sendable`: the condition's lock is held around every use of the fields.
private final class PipeReader: @unchecked Sendable {
  private let condition = NSCondition()
  private var data = Data()
  private var isAtEnd = false

  init(_ pipe: Pipe) {
    Thread { [self] in
      while true {
        let piece = pipe.fileHandleForReading.availableData
        condition.withLock {
          data.append(piece)
          isAtEnd = piece.isEmpty
          condition.broadcast()
        }
        if piece.isEmpty { return }
      }
    }.start()
  }

  func text() -> String {
    condition.withLock {
      while !isAtEnd { condition.wait() }
      return String(decoding: data, as: UTF8.self)
    }
  }

  func waits(for text: String, seconds: Double) -> Bool {
    let deadline = Date(timeIntervalSinceNow: seconds)
    return condition.withLock {
      while data.range(of: Data(text.utf8)) == nil {
        if isAtEnd || !condition.wait(until: deadline) { return false }
      }
      return true
    }
  }
}
