import Foundation
import Synchronization
import TestSupport
import Testing

/// Hosts made by `cluster/lab.sh`, with names, network and directories, removed with this object.
final class Lab: Sendable {
  private static let path: String = {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return root.appendingPathComponent("cluster/lab.sh").path
  }()

  /// The message of `lab.sh check` if this machine does not allow a lab, else nil.
  static let refusal: String? = {
    guard let run = try? script(["check"], lab: "check") else { return "\(path) does not start" }
    return run.status == 0 ? nil : run.errors.trimmingCharacters(in: .whitespacesAndNewlines)
  }()

  private static let count = Atomic(0)

  /// The lab's name; a host's name is this, a hyphen and its number from 1.
  let name: String

  /// Starts a lab; each host has its own copy of the private directories.
  init(hosts: Int, privateFolders: [String] = []) throws {
    let number = Self.count.wrappingAdd(1, ordering: .relaxed).newValue
    name = "t\(ProcessInfo.processInfo.processIdentifier)n\(number)"
    let up = try command(
      ["up", "--hosts", "\(hosts)"] + privateFolders.flatMap { ["--private", $0] })
    try #require(up.status == 0, "\(up.transcript)")
  }

  deinit {
    _ = try? command(["down"])
  }

  /// `lab.sh` with these arguments.
  @discardableResult
  func command(_ arguments: [String]) throws -> ProgramRun {
    try Self.script(arguments, lab: name)
  }

  /// `lab.sh` for a lab of this name, up or not.
  static func script(_ arguments: [String], lab: String) throws -> ProgramRun {
    try start(
      ["timeout", "--kill-after", "5", "120", path] + arguments,
      environment: ["MILM_LAB": lab, "MILM": program("milm")])
  }

  /// `milm train` under `mpirun`, with that many ranks on each host.
  ///
  /// If its daemons fail to connect, Open MPI 4.1 ends with status 0 without starting anything, so a job without any
  /// message of milm is started again.
  func milm(ranks: Int, slots: Int = 1, _ arguments: [String]) throws -> ProgramRun {
    let command = ["run", "-n", "\(ranks)", "--slots", "\(slots)", "--", "milm"] + arguments
    for _ in 0..<2 {
      let run = try self.command(command)
      if run.status != 0 || run.errors.contains("info: ") { return run }
    }
    return try self.command(command)
  }

  /// A command on one host.
  @discardableResult
  func on(_ host: Int, _ arguments: String...) throws -> ProgramRun {
    try command(["on", "\(host)", "--"] + arguments)
  }
}

extension Trait where Self == ConditionTrait {
  /// Skips the test, with the reason, if the kernel or the user's rights do not allow a lab.
  static var whereLabsAreAllowed: Self {
    .enabled(if: Lab.refusal == nil, Comment(rawValue: Lab.refusal ?? ""))
  }
}
