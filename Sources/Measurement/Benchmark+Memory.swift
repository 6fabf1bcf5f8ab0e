import Communication
import Tensors
import Training

extension Benchmark {
  /// Throws on all ranks where a host has too little memory for steps of a configuration, before any is allocated.
  ///
  /// Checkpoints and evaluations, which no benchmark has, do not count.
  func checkMemory(_ configuration: RunConfiguration) throws {
    let engine = try configuration.training.engine(ranks)
    let available = try ranks.control.hostShare().memory
    try ranks.onAllRanks("check the memory") {
      let table = Arena(counting: true)
      let text = try self.text(tokenCount: 0, in: table)
      let need = try MemoryNeed(
        configuration, vocabularySize: text.identity.vocabularySize, ranks: ranks, engine: engine)
      try MemoryNeed.check(need.state + need.step + need.packed + table.byteCount, available)
    }
  }

  /// Throws on all ranks if a host has fewer than `byteCount` bytes for each of its ranks.
  func checkMemory(byteCount: Int) throws {
    let available = try ranks.control.hostShare().memory
    try ranks.onAllRanks("check the memory") { try MemoryNeed.check(byteCount, available) }
  }
}
