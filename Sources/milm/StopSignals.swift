import Dispatch
import Foundation
import Platform
import Reporting
import Synchronization
import Training

/// Turns termination signals into a stop request; a second one ends the process at once.
///
/// Slurm warns with SIGUSR1, which `mpirun` forwards to the ranks; SIGTERM and SIGINT reach a process that runs without
/// `mpirun`.
///
/// `@unchecked Sendable`: the sources are only created and released; their handler uses a lock.
final class StopSignals: @unchecked Sendable {
  private static let numbers = [SIGUSR1, SIGTERM, SIGINT]
  /// `mpirun` and the batch system may both deliver the same signal within this time; they count as one.
  private static let echoSeconds = 0.2

  private let stop: StopRequest
  private let firstTime = Mutex<ContinuousClock.Instant?>(nil)
  private let sources: [any DispatchSourceSignal]

  /// Handles signals for the lifetime of the value.
  init(_ stop: StopRequest) {
    self.stop = stop
    sources = Self.numbers.map {
      DispatchSource.makeSignalSource(signal: $0, queue: .global(qos: .userInteractive))
    }
    for source in sources {
      source.setEventHandler { [weak self] in self?.receive() }
      source.activate()
    }
  }

  private func receive() {
    let now = ContinuousClock.now
    let first = firstTime.withLock { time in
      let first = time ?? now
      time = first
      return first
    }
    stop.make()
    // Files on disk are complete at all times, so no cleanup is needed.
    if (now - first).inSeconds > Self.echoSeconds { _exit(interruptedStatus) }
  }
}

/// The exit status of a run that was interrupted and can be resumed: EX_TEMPFAIL.
let interruptedStatus: Int32 = 75
