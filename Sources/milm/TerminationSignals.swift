import Communication
import Foundation
import Platform
import Reporting

/// Signals that ask the process to end, received on a thread of their own.
///
/// Slurm warns with SIGUSR1, which `mpirun` forwards to the ranks; SIGTERM and SIGINT reach a process that runs without
/// `mpirun`, and SIGHUP one whose terminal is lost. SIGINT and SIGHUP stay ignored where they were at the start, as `nohup`
/// and shells arrange it.
struct TerminationSignals {
  /// From the handler to the thread.
  private static let pipe = SignalPipe()

  /// Whether the process is to outlive its terminal.
  let ignoresHangUp: Bool

  /// Calls `receive` with the number of every signal from now on; throws where the system refuses a thread.
  init(_ receive: @escaping @Sendable (CInt) -> Void) throws {
    ignoresHangUp = Self.isIgnored(SIGHUP)
    let numbers = [SIGUSR1, SIGTERM] + [SIGINT, SIGHUP].filter { !Self.isIgnored($0) }
    var signals = sigset_t()
    sigemptyset(&signals)
    for number in numbers { sigaddset(&signals, number) }
    // The threads that are started later inherit the mask: no call of theirs is interrupted.
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    let pipe = Self.pipe
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { TerminationSignals.pipe.send($0) }
    action.sa_flags = SA_RESTART
    for number in numbers { sigaction(number, &action, nil) }
    let own = signals
    _ = try SystemThread(name: "signals") {
      var own = own
      pthread_sigmask(SIG_UNBLOCK, &own, nil)
      while let number = pipe.receive() { receive(number) }
    }
  }

  private static func isIgnored(_ number: CInt) -> Bool {
    var action = sigaction()
    sigaction(number, nil, &action)
    return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
      == unsafeBitCast(SIG_IGN, to: Int.self)
  }
}

/// A command that has something to save, and answers signals itself.
protocol AnswersSignals {
  /// Whether it does with its arguments.
  var answersSignals: Bool { get }
}

extension AnswersSignals {
  var answersSignals: Bool { true }
}

/// Lets signals end a command that has nothing to save: what is half written is removed, and the status says that it was
/// interrupted.
func endAtSignals() throws {
  let launch = Launch.current
  _ = try TerminationSignals { number in
    TemporaryEntry.endProcess {
      // mpirun ends the other ranks of a failed job with SIGTERM, and says so itself.
      if launch.rank == 0, launch.isSingleton || number != SIGTERM {
        TerminalOutput.standardError.writeLine("milm: interrupted by \(name(ofSignal: number))")
      }
      _exit(interruptedStatus)
    }
  }
}

private func name(ofSignal number: CInt) -> String {
  [SIGHUP: "SIGHUP", SIGINT: "SIGINT", SIGTERM: "SIGTERM", SIGUSR1: "SIGUSR1"][number] ?? "signal \(number)"
}

/// The exit status of a command that was interrupted; a run can be resumed: EX_TEMPFAIL.
let interruptedStatus: Int32 = 75

/// Numbers of signals, written by a handler, which may do little else.
private struct SignalPipe {
  private let ends: (read: CInt, write: CInt)

  init() {
    var ends: [CInt] = [-1, -1]
    pipe(&ends)
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    self.ends = (ends[0], ends[1])
  }

  func send(_ number: CInt) {
    let code = errno
    var byte = UInt8(truncatingIfNeeded: number)
    write(ends.write, &byte, 1)
    errno = code
  }

  /// The next signal's number, waited for.
  func receive() -> CInt? {
    var byte: UInt8 = 0
    while true {
      let count = read(ends.read, &byte, 1)
      if count == 1 { return CInt(byte) }
      guard count == -1, errno == EINTR else { return nil }
    }
  }
}
