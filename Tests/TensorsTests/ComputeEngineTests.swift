import CKernels
import Foundation
import Tensors
import TestSupport
import Testing

@Suite struct ComputeEngineTests {
  let arena = Arena()

  @Test(arguments: [(0, 4), (1, 4), (7, 2), (100, 3)])
  func partsCoverTheWholeOnce(count: Int, threadCount: Int) throws {
    let engine = try ComputeEngine(threadCount: threadCount)
    let hits = arena.vector(of: Int32.self, count: count)
    engine.forEachPart(of: count, minimumPartCount: 1) { range in
      for index in range { hits[index] += 1 }
    }
    #expect(hits.elements.allSatisfy { $0 == 1 })
  }

  @Test func everyThreadFlushesDenormals() throws {
    let engine = try ComputeEngine(threadCount: 2)
    let values = arena.vector(of: Float.self, count: 2)
    values.fill(Float.leastNormalMagnitude)
    engine.forEachPart(of: 2, minimumPartCount: 1) { range in
      for index in range { values[index] *= 0.5 }
    }
    #expect(values.elements == [0, 0])
  }

  @Test(.enabled(if: ComputeEngine.hasOneDNN, "built without oneDNN"), arguments: Precision.allCases)
  func theVersionOfOneDNNAndItsInstructionsHaveNames(precision: Precision) throws {
    let engine = ComputeEngine(precision: precision)
    // OpenBLAS replaces oneDNN on a processor without AVX2.
    guard engine.name == "onednn" else { return }
    let summary = try #require(
      try /oneDNN [23]\.\d+\.\d+, (\w+), (\w+), 1 thread/.wholeMatch(in: engine.summary), "\(engine.summary)")
    #expect(summary.1.hasPrefix("avx2") || summary.1.hasPrefix("avx512_core"))
    #expect(summary.2 == engine.precision.rawValue)
  }

  @Test func gateFunctionsAreAccurate() {
    // One LSTM row whose candidate and gates have the same inputs: σ and tanh against the library's.
    let width = 4001
    let gates = arena.vector(of: Float.self, count: 4 * width)
    let rest = arena.vector(of: Float.self, count: 4 * width)
    for index in 0..<width {
      for gate in 0..<4 { gates[gate * width + index] = Float(index - 2000) * 0.01 }
    }
    CKernels_lstmForward(
      gates.data, rest.data, rest.data + width, rest.data + 2 * width, rest.data + 3 * width, width)
    for index in 0..<width {
      let x = Double(Float(index - 2000) * 0.01)
      #expect(abs(Double(gates[index]) - 1 / (1 + exp(-x))) < 2e-7)
      #expect(abs(Double(gates[2 * width + index]) - tanh(x)) < 3e-7)
    }
  }
}

@Suite struct RandomKeyTests {
  @Test func streamsDependOnEveryPartOfTheirName() {
    let root = RandomKey(seed: 1)
    let keys = [
      root, RandomKey(seed: 2), root.derived("a"), root.derived("b"), root.derived(0), root.derived(1),
      root.derived("a").derived(1), root.derived(1).derived("a"),
    ]
    #expect(Set(keys.map(\.bits)).count == keys.count)
  }

  @Test func numbersAreUniform() {
    let engine = ComputeEngine()
    let arena = Arena()
    let values = arena.vector(of: Float.self, count: 100_000)
    engine.fillUniformly(values.data, count: values.count, limit: 2, key: RandomKey(seed: 5))
    let mean = values.elements.reduce(0.0) { $0 + Double($1) } / 100_000
    let square = values.elements.reduce(0.0) { $0 + Double($1) * Double($1) } / 100_000
    #expect(abs(mean) < 0.02)
    #expect(abs(square - 4.0 / 3) < 0.02)
    #expect(values.elements.allSatisfy { abs($0) < 2 })
  }

  @Test func numbersDoNotDependOnTheNumberOfThreads() throws {
    let arena = Arena()
    let results = try [1, 2, 3].map { threadCount in
      let values = arena.vector(of: Float.self, count: 200_000)
      try ComputeEngine(threadCount: threadCount).fillUniformly(
        values.data, count: values.count, limit: 1, key: RandomKey(seed: 9))
      return values.elements
    }
    for result in results { #expect(firstDifference(result, results[0]) == nil) }
  }

  /// Element i is the (i + 1)th output of SplitMix64 that starts at the key.
  @Test func numbersAreThoseOfSplitMix64() throws {
    let (arena, key) = (Arena(), RandomKey(seed: 9))
    let values = arena.vector(of: Float.self, count: 200_001)
    try ComputeEngine(threadCount: 2).fillUniformly(values.data, count: values.count, limit: 1, key: key)
    let expected = (0..<values.count).map { index in
      var x = key.bits &+ UInt64(index + 1) &* 0x9E37_79B9_7F4A_7C15
      x = (x ^ x >> 30) &* 0xBF58_476D_1CE4_E5B9
      x = (x ^ x >> 27) &* 0x94D0_49BB_1331_11EB
      return (Float((x ^ x >> 31) >> 40) + 0.5) * 0x1p-23 - 1
    }
    #expect(firstDifference(values.elements, expected) == nil)
  }

  @Test(arguments: [0, 1, 15, 16, 17, 64, 1000])
  func aNonTemporalCopyWritesNothingElse(count: Int) {
    let source = (0..<count + 40).map { Float($0) + 1 }
    for (start, target) in [(0, 0), (0, 3), (5, 0), (7, 16), (3, 19)] {
      var copy = [Float](repeating: 0, count: count + 40)
      source.withUnsafeBufferPointer { source in
        copy.withUnsafeMutableBufferPointer { copy in
          guard let x = source.baseAddress, let y = copy.baseAddress else { return }
          CKernels_copy(x + start, y + target, count)
        }
      }
      let expected =
        [Float](repeating: 0, count: target) + source[start..<start + count]
        + [Float](repeating: 0, count: 40 - target)
      #expect(copy == expected)
    }
  }
}
