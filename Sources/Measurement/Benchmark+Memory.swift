import Communication
import Corpus
import Foundation
import Training

extension Benchmark {
  /// Throws on all ranks where a host has too little memory for steps of a configuration, before any is allocated.
  ///
  /// Checkpoints and evaluations, which no benchmark has, do not count.
  func checkMemory(_ configuration: RunConfiguration) throws {
    let engine = try configuration.training.engine(ranks)
    let available = try ranks.control.hostShare().memory
    try ranks.onAllRanks("check the memory") {
      let need = try MemoryNeed(
        configuration, vocabularySize: textVocabularySize(), ranks: ranks, engine: engine)
      // Generated text has a table of its distribution.
      let table = corpusPath == nil ? MemoryLayout<Double>.stride * vocabularySize : 0
      try MemoryNeed.check(need.state + need.step + need.packed + table, available)
    }
  }

  /// Throws on all ranks if a host has memory for fewer than `floatCount` floats for each of its ranks.
  func checkMemory(floatCount: Int) throws {
    let available = try ranks.control.hostShare().memory
    try ranks.onAllRanks("check the memory") {
      try MemoryNeed.check(MemoryLayout<Float>.stride * floatCount, available)
    }
  }

  private func textVocabularySize() throws -> Int {
    guard let corpusPath else { return vocabularySize }
    return try Corpus(opening: URL(filePath: corpusPath), verification: .headerOnly).vocabulary.count
  }
}
