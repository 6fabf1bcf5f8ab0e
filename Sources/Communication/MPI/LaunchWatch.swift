import Foundation
import Platform

/// Ends this process where MPI does not start in time: until it has started, no rank can tell what others do.
final class LaunchWatch: Sendable {
  private let isOver = DispatchSemaphore(value: 0)

  /// Begins to watch.
  init(seconds: Double) {
    let thread = Thread { [isOver] in
      guard isOver.wait(timeout: .now() + seconds) == .timedOut else { return }
      printLine(
        "\(Host.name): MPI has not started in \(seconds) s: "
          + "expected all ranks to start, found that one has not, or that a host does not answer")
      fflush(nil)
      _exit(1)
    }
    thread.name = "launch"
    thread.start()
  }

  /// Says that MPI has started.
  func end() {
    isOver.signal()
  }
}
