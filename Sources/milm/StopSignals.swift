import Communication
import Foundation
import Platform
import Reporting
import Synchronization
import Training

/// Turns termination signals into a stop request; a second one ends the process at once.
final class StopSignals: Sendable {
  /// `mpirun` and the batch system may both deliver the same signal within this time; they count as one.
  private static let echoSeconds = 0.2

  private let stop: StopRequest
  private let firstTime = Mutex<ContinuousClock.Instant?>(nil)

  private init(_ stop: StopRequest) {
    self.stop = stop
  }

  /// Handles signals from now on and returns standard error, drawn on like a terminal where it is relayed to one.
  ///
  /// Losing its reader is a request to stop too, unless the process is to outlive its terminal. Throws where the system
  /// refuses a thread.
  static func handle(_ stop: StopRequest) throws -> TerminalOutput {
    let receiver = StopSignals(stop)
    let signals = try TerminationSignals { receiver.receive($0) }
    return .standardError(relayedTo: Launch.relayedTerminal) { if !signals.ignoresHangUp { stop.make() } }
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
