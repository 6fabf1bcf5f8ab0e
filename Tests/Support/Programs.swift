import Foundation

/// What a program that a test has started came to.
public struct ProgramRun: Sendable {
  /// The exit status, or the number of the signal that ended it.
  public let status: Int32
  /// What it printed to standard output.
  public let output: String
  /// What it printed to standard error.
  public let errors: String

  /// Everything, for the message of an expectation.
  public var transcript: String { "status \(status)\n\(output)\n\(errors)" }
}

/// One of this package's programs, which lie beside the one that runs the tests.
public func program(_ name: String) -> String {
  let folder = Bundle.main.executableURL?.deletingLastPathComponent() ?? URL(filePath: ".")
  return folder.appendingPathComponent(name).path
}

/// Starts a program and waits for its end.
public func start(
  _ arguments: [String], environment added: [String: String] = [:], standardInput: FileHandle? = nil
) throws -> ProgramRun {
  let process = Process()
  let output = Pipe()
  let errors = Pipe()
  process.executableURL = URL(filePath: "/usr/bin/env")
  process.arguments = arguments
  process.environment = ProcessInfo.processInfo.environment.merging(added) { $1 }
  process.standardInput = standardInput ?? FileHandle.nullDevice
  process.standardOutput = output
  process.standardError = errors
  try process.run()
  // Both pipes are emptied at once: a program that fills the one would wait for ever while the other is read.
  let errorReader = PipeReader(errors)
  let text = output.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return ProgramRun(
    status: process.terminationStatus, output: String(decoding: text, as: UTF8.self),
    errors: errorReader.text())
}

/// Starts a program under `mpirun`, ended after `timeoutSeconds` if it hangs.
///
/// The process that runs tests never calls MPI itself, or it could not start others.
public func mpirun(
  _ rankCount: Int, _ arguments: [String], environment: [String: String] = [:], timeoutSeconds: Int = 60
) throws -> ProgramRun {
  try start(
    [
      "mpirun", "--oversubscribe", "--bind-to", "none", "--timeout", "\(timeoutSeconds)",
      "-n", "\(rankCount)",
    ] + arguments,
    environment: ["OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"]
      .merging(environment) { $1 })
}

/// Reads a pipe to its end on a thread of its own.
///
/// `@unchecked Sendable`: written before the group is left, read after it was waited for.
private final class PipeReader: @unchecked Sendable {
  private let group = DispatchGroup()
  private var data = Data()

  init(_ pipe: Pipe) {
    group.enter()
    Thread { [self] in
      data = pipe.fileHandleForReading.readDataToEndOfFile()
      group.leave()
    }.start()
  }

  func text() -> String {
    group.wait()
    return String(decoding: data, as: UTF8.self)
  }
}
