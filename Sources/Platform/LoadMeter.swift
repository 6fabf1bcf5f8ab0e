import Foundation

/// Measures how busy this host's processors are, and how much of that is this process's.
package struct LoadMeter: Sendable {
  /// Processor seconds over a time.
  package struct Reading: Sendable, Equatable {
    /// The time in seconds.
    package let seconds: Double
    /// CPU seconds of all programs of the host, and of its hypervisor (steal); nil if the kernel does not report them.
    package let hostSeconds: Double?
    /// CPU seconds of this process.
    package let ownSeconds: Double
  }

  private let root: String
  private let start = ContinuousClock.now
  private let hostStart: Double?
  private let ownStart = Self.ownSeconds

  /// Starts to measure; `root` is where `/proc` is found, for tests.
  package init(root: String = "") {
    self.root = root
    hostStart = Self.hostSeconds(root)
  }

  /// CPU seconds since the start.
  package var reading: Reading {
    let host = Self.hostSeconds(root)
    return Reading(
      seconds: (ContinuousClock.now - start).inSeconds,
      hostSeconds: hostStart.flatMap { start in host.map { $0 - start } },
      ownSeconds: Self.ownSeconds - ownStart)
  }

  /// The first line of `/proc/stat` counts user, nice, system, idle, iowait, irq, softirq and steal.
  private static func hostSeconds(_ root: String) -> Double? {
    let line = Host.text("\(root)/proc/stat").prefix { $0 != "\n" }.split(separator: " ")
    guard line.count >= 9, line[0] == "cpu" else { return nil }
    let ticks = [1, 2, 3, 6, 7, 8].compactMap { Double(line[$0]) }
    return ticks.count == 6 ? ticks.reduce(0, +) / Double(sysconf(Int32(_SC_CLK_TCK))) : nil
  }

  private static var ownSeconds: Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
  }
}
