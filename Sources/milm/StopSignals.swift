import Dispatch
import Foundation
import Platform
import Reporting
import Synchronization
import Training

/// Makes a wish to stop of the signals that ask for it; a second one ends the process at once.
///
/// Slurm warns with SIGUSR1, which `mpirun` passes on to the ranks; SIGTERM and SIGINT reach a process
/// that runs without `mpirun`.
///
/// `@unchecked Sendable`: the sources are only made and let go of; what they call goes through a lock.
final class StopSignals: @unchecked Sendable {
  private static let numbers = [SIGUSR1, SIGTERM, SIGINT]
  /// The same warning may come on two roads, from `mpirun` and from the batch system: that is one signal.
  private static let echoSeconds = 0.2

  private let stop: StopRequest
  private let firstTime = Mutex<ContinuousClock.Instant?>(nil)
  private let sources: [any DispatchSourceSignal]

  /// Listens from now on, for as long as the value lives.
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
    // What stands on the disk is whole at every instant, so nothing needs to be tidied up.
    if (now - first).inSeconds > Self.echoSeconds { _exit(interruptedStatus) }
  }
}

/// The exit status of a run that was interrupted and can be resumed: EX_TEMPFAIL.
let interruptedStatus: Int32 = 75
