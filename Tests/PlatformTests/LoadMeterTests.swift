import Foundation
import Platform
import TestSupport
import Testing

/// Processor time of the host, read from a copy of `/proc`, and of this process.
struct LoadMeterTests {
  @Test func theHostsBusyTimeIsCounted() throws {
    let root = try TemporaryFolder()
    try FileManager.default.createDirectory(atPath: root.file("proc"), withIntermediateDirectories: true)
    try root.write("cpu  100 10 50 9000 700 5 5 30 80 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n", to: "proc/stat")
    let meter = LoadMeter(root: root.path)
    // User, nice, system, irq, softirq and steal grow by 300 ticks; idle and waiting time do not count.
    try root.write("cpu  200 60 100 9900 900 30 30 80 80 0\n", to: "proc/stat")
    let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
    #expect(meter.reading.hostSeconds == 300 / ticks)
    #expect(meter.reading.seconds > 0 && meter.reading.ownSeconds >= 0)
  }

  @Test func withoutTheKernelsCountsThereIsNoFigure() throws {
    let root = try TemporaryFolder()
    #expect(LoadMeter(root: root.path).reading.hostSeconds == nil)
    try FileManager.default.createDirectory(atPath: root.file("proc"), withIntermediateDirectories: true)
    try root.write("cpu 1 2\n", to: "proc/stat")
    #expect(LoadMeter(root: root.path).reading.hostSeconds == nil)
  }

  @Test func ownTimeIsThatOfThisProcess() {
    let meter = LoadMeter()
    let end = ContinuousClock.now + .milliseconds(60)
    while ContinuousClock.now < end {}
    #expect(meter.reading.ownSeconds > 0.01)
    #expect(meter.reading.hostSeconds.map { $0 >= 0 } ?? true)
  }
}
