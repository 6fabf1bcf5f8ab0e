import Foundation
import Platform
import Synchronization
import TestSupport
import Testing

struct SystemThreadTests {
  /// No address space holds such a stack.
  private static let impossibleByteCount = 1 << 50

  @Test func aThreadThatCannotBeStartedIsAnError() throws {
    let error = #expect(throws: MilmError.self) {
      _ = try SystemThread(name: "test", stackByteCount: Self.impossibleByteCount) {}
    }
    #expect(error?.description == "cannot start a thread: Resource temporarily unavailable (test)")
  }

  @Test func aThreadRunsUnderItsNameAndCanBeJoined() throws {
    let name = Mutex("")
    let thread = try SystemThread(name: "a long name of a thread") {
      let text = try? String(contentsOfFile: "/proc/thread-self/comm", encoding: .utf8)
      name.withLock { $0 = text ?? "" }
    }
    thread.join()
    #expect(name.withLock { $0 } == "a long name of \n")
  }

  @Test(arguments: [0, 1, 2, 7]) func allRunTogether(count: Int) throws {
    let seen = Mutex<Set<Int>>([])
    let arrived = DispatchSemaphore(value: 0)
    try SystemThread.runConcurrently(count: count, name: "test") { index in
      seen.withLock { _ = $0.insert(index) }
      // Nobody leaves before all have come.
      if index == count - 1 { for _ in 0..<count { arrived.signal() } }
      arrived.wait()
    }
    #expect(seen.withLock { $0 } == Set(0..<count))
  }

  @Test func aTimeoutThatIsEndedDoesNotCallBack() throws {
    let isCalled = Atomic(false)
    try Timeout(seconds: 0.05, name: "test") { Issue.record("called back") }.end()
    let timeout = try Timeout(seconds: 0.01, name: "test") { isCalled.store(true, ordering: .relaxed) }
    usleep(200_000)
    timeout.end()
    let wasCalled = isCalled.load(ordering: .relaxed)
    #expect(wasCalled)
  }
}

struct SystemMemoryTests {
  @Test func memoryThatCannotBeHadEndsTheProcessWithALine() async {
    let ended = await #expect(
      processExitsWith: .exitCode(EXIT_FAILURE), observing: [\.standardErrorContent]
    ) {
      _ = SystemMemory.map(byteCount: 1 << 60)
    }
    let errors = String(decoding: ended?.standardErrorContent ?? [], as: UTF8.self)
    #expect(errors.contains("out of memory: cannot allocate \(1 << 60) bytes: Cannot allocate memory\n"))
    await #expect(processExitsWith: .exitCode(EXIT_FAILURE)) { _ = SystemMemory.bytes(1 << 60) }
    await #expect(processExitsWith: .exitCode(EXIT_FAILURE)) {
      _ = SystemMemory.require(nil as Int?, for: "a test")
    }
  }
}
