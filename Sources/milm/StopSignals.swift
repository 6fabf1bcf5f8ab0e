import Foundation
import Platform
import Reporting
import Synchronization
import Training

/// Turns termination signals into a stop request; a second one ends the process at once.
///
/// Slurm warns with SIGUSR1, which `mpirun` forwards to the ranks; SIGTERM and SIGINT reach a process that runs without
/// `mpirun`, and SIGHUP one whose terminal is lost. SIGINT and SIGHUP stay ignored where they were at the start, as `nohup`
/// and shells arrange it.
final class StopSignals: Sendable {
  /// `mpirun` and the batch system may both deliver the same signal within this time; they count as one.
  private static let echoSeconds = 0.2
  /// From the handler to the thread.
  private static let pipe = SignalPipe()

  /// Whether the process is to outlive its terminal.
  private let ignoresHangUp: Bool
  private let stop: StopRequest
  private let firstTime = Mutex<ContinuousClock.Instant?>(nil)

  /// Handles signals from now on; throws where the system refuses a thread.
  init(_ stop: StopRequest) throws {
    self.stop = stop
    ignoresHangUp = Self.isIgnored(SIGHUP)
    let numbers = [SIGUSR1, SIGTERM] + [SIGINT, SIGHUP].filter { !Self.isIgnored($0) }
    var signals = sigset_t()
    sigemptyset(&signals)
    for number in numbers { sigaddset(&signals, number) }
    // The threads that are started later inherit the mask: no call of theirs is interrupted.
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    let pipe = Self.pipe
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { StopSignals.pipe.send($0) }
    action.sa_flags = SA_RESTART
    for number in numbers { sigaction(number, &action, nil) }
    let own = signals
    _ = try SystemThread(name: "signals") { [self] in
      var own = own
      pthread_sigmask(SIG_UNBLOCK, &own, nil)
      while let number = pipe.receive() { receive(number) }
    }
  }

  /// Standard error; losing its reader is a request to stop, unless the process is to outlive its terminal.
  var output: TerminalOutput {
    .standardError { [self] in if !ignoresHangUp { stop.make() } }
  }

  private static func isIgnored(_ number: CInt) -> Bool {
    var action = sigaction()
    sigaction(number, nil, &action)
    return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
      == unsafeBitCast(SIG_IGN, to: Int.self)
  }

  private func receive(_ number: CInt) {
    let now = ContinuousClock.now
    let first = firstTime.withLock { time in
      let first = time ?? now
      time = first
      return first
    }
    stop.make()
    // A lost terminal may be told several times, by the kernel and by shells.
    guard number != SIGHUP else { return }
    // Files on disk are complete at all times, so no cleanup is needed.
    if (now - first).inSeconds > Self.echoSeconds { _exit(interruptedStatus) }
  }
}

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

/// The exit status of a run that was interrupted and can be resumed: EX_TEMPFAIL.
let interruptedStatus: Int32 = 75
