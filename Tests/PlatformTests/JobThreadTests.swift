import Foundation
import Platform
import Synchronization
import Testing

struct JobThreadTests {
  @Test func runsJobsInOrder() throws {
    let thread = try JobThread(name: "test")
    let order = Mutex<[Int]>([])
    for number in 0..<100 { thread.submit { order.withLock { $0.append(number) } } }
    thread.waitUntilIdle()
    #expect(order.withLock { $0 } == Array(0..<100))
  }

  @Test func aPromiseGivesWhatTheJobReturnsOrThrows() throws {
    let thread = try JobThread(name: "test")
    let value = thread.start { 7 }
    let failure: Promise<Int> = thread.start { throw MilmError("failed") }
    #expect(try value.value() == 7)
    #expect(try value.value() == 7)
    #expect(throws: MilmError("failed")) { try failure.value() }
  }

  @Test func waitingTimesOutWhileAJobRuns() throws {
    let thread = try JobThread(name: "test", hasLowestPriority: true)
    let gate = DispatchSemaphore(value: 0)
    thread.submit { gate.wait() }
    #expect(!thread.waitUntilIdle(timeoutSeconds: 0.02))
    #expect(thread.busySeconds >= 0.02)
    gate.signal()
    thread.waitUntilIdle()
    let busySeconds = thread.busySeconds
    #expect(thread.busySeconds == busySeconds)
  }

  @Test func whatAJobHoldsIsReleasedBeforeTheThreadIsIdle() throws {
    final class Held: Sendable {}
    let thread = try JobThread(name: "test")
    weak var observed: Held?
    do {
      let held = Held()
      observed = held
      thread.submit { withExtendedLifetime(held) {} }
    }
    thread.waitUntilIdle()
    #expect(observed == nil)
  }

  @Test func denormalsAreFlushedOnRequest() throws {
    let thread = try JobThread(name: "test", flushesDenormals: true)
    let smallest = Mutex(Float.leastNormalMagnitude)
    let half = try thread.start { smallest.withLock { $0 } / 2 }.value()
    #expect(half == 0)
  }

  @Test func durationsCountSeconds() {
    #expect(Duration.milliseconds(1500).inSeconds == 1.5)
  }
}
