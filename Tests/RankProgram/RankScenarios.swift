import Communication
import Foundation

func collectivesAgree(_ ranks: Ranks) throws {
  let count = ranks.rankCount
  try ranks.thread.run { [world = ranks.world] in
    let control = world.control
    let gathered = try control.allGather("bytes", Array(repeating: UInt8(control.rank), count: control.rank))
    try claim(
      gathered == (0..<count).map { Array(repeating: UInt8($0), count: $0) }, "all-gather: \(gathered)")
    let shared = try control.broadcast(
      "text", Array(control.rank == count - 1 ? "hello".utf8 : "".utf8), from: count - 1)
    try claim(String(decoding: shared, as: UTF8.self) == "hello", "broadcast: \(shared)")
    let sum = try control.sum("loss", [0.1 * Double(control.rank + 1), 1])
    try claim(sum == [(1...count).reduce(0) { $0 + 0.1 * Double($1) }, Double(count)], "sum: \(sum)")
    let rank = UInt64(control.rank)
    try claim(try control.minimum("least", rank) == 0, "minimum")
    try claim(try control.maximum("most", rank) == UInt64(count - 1), "maximum")
    try control.verifyReplicas(hashes: [("a", 1), ("b", 2)], step: 3)
    try control.barrier("end")
    try claim(
      control.hostNames.count == count && !control.hostNames[0].isEmpty, "hosts: \(control.hostNames)")
  }
}

/// A little over 130 MiB: three messages; and exactly 64 MiB: one, and an empty one that ends it.
func largeMemoryTravelsInPieces(_ ranks: Ranks) throws {
  for wordCount in [(130 << 20) / 8 + 3, (64 << 20) / 8] {
    try ranks.thread.run { [world = ranks.world] in
      let control = world.control
      let own = (0..<wordCount).map { UInt64($0) &* UInt64(control.rank + 3) }
      try own.withUnsafeBytes { bytes in
        let isRoot = control.rank == 0
        let space = UnsafeMutableRawBufferPointer.allocate(
          byteCount: bytes.count * (isRoot ? control.rankCount : 1), alignment: 64)
        defer { space.deallocate() }
        let slots = (0..<(isRoot ? control.rankCount : 0)).map {
          UnsafeMutableRawBufferPointer(rebasing: space[($0 * bytes.count)..<(($0 + 1) * bytes.count)])
        }
        _ = try control.gather("large", bytes, to: 0, into: slots)
        for (rank, slot) in slots.enumerated() {
          let isRight = slot.bindMemory(to: UInt64.self).enumerated().allSatisfy {
            $0.element == UInt64($0.offset) &* UInt64(rank + 3)
          }
          try claim(isRight, "gather: expected the bytes of rank \(rank)")
        }
        let copy = UnsafeMutableRawBufferPointer(rebasing: space[..<bytes.count])
        copy.copyMemory(from: bytes)
        try control.broadcast("large", over: copy, from: control.rankCount - 1)
        let isRight = copy.bindMemory(to: UInt64.self).enumerated().allSatisfy {
          $0.element == UInt64($0.offset) &* UInt64(control.rankCount + 2)
        }
        try claim(isRight, "broadcast: expected the bytes of the last rank")
      }
    }
  }
}

func waitingSleeps(_ ranks: Ranks) throws {
  if ranks.rank == 1 { usleep(1_500_000) }
  let before = processorSeconds()
  try ranks.thread.run { [control = ranks.world.control] in try control.barrier("late") }
  let used = processorSeconds() - before
  if ranks.rankCount > 1 && ranks.rank != 1 { print("used \(used) s of 1.5 s") }
  try claim(used < 0.5, "expected to sleep while waiting 1.5 s, used the processor for \(used) s")
}

/// Seconds all threads of this process have run.
private func processorSeconds() -> Double {
  Double(clock()) / Double(CLOCKS_PER_SEC)
}

func runsAlone(_ ranks: Ranks) throws {
  try claim(ranks.rankCount == 1, "expected a process alone, found \(ranks.rankCount) ranks")
  try ranks.thread.run { [control = ranks.world.control] in try control.barrier("alone") }
}

func crossedOperationsAreNamed(_ ranks: Ranks) throws {
  try ranks.thread.run { [control = ranks.world.control] in
    if control.rank == 0 { _ = try control.sum("loss", [1]) } else { try control.barrier("checkpoint") }
  }
}

func oneRankThrows(_ ranks: Ranks) throws {
  if ranks.rank == ranks.rankCount - 1 { throw Violation(description: "the disk is full") }
  try ranks.thread.run { [control = ranks.world.control] in try control.barrier("never reached") }
}

func allRanksThrow(_ ranks: Ranks) throws {
  throw Violation(description: "the configuration is wrong")
}

func differentParametersAreNamed(_ ranks: Ranks) throws {
  let odd: UInt64 = ranks.rank == ranks.rankCount - 1 ? 99 : 2
  try ranks.thread.run { [control = ranks.world.control] in
    try control.verifyReplicas(hashes: [("embedding.weight", 1), ("decoder.V", odd)], step: 300)
  }
}

/// Like a debugger or a frozen machine.
func stopThisProcess() {
  raise(SIGSTOP)
}
