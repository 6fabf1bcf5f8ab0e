import CKernels
import Foundation
import Tensors
import TestSupport
import Testing

@Suite struct ComputeEngineTests {
  let arena = Arena()

  private func random(_ rows: Int, _ columns: Int, _ name: String, _ engine: ComputeEngine) -> Matrix {
    let matrix = arena.matrix(rowCount: rows, columnCount: columns + 3).columns(1..<columns + 1)
    for row in 0..<rows {
      engine.fillUniformly(
        matrix.row(row), count: columns, limit: 1, key: RandomKey(seed: 1).derived(name).derived(row))
    }
    return matrix
  }

  @Test(arguments: [(1, 1, 1), (3, 5, 7), (33, 17, 65)], [false, true])
  func productsEqualTheirDefinition(shape: (Int, Int, Int), adding: Bool) {
    let engine = ComputeEngine(threadCount: 2)
    let (m, n, k) = shape
    let a = random(m, k, "a", engine)
    let b = random(k, n, "b", engine)
    let aTransposed = arena.matrix(rowCount: k, columnCount: m)
    let bTransposed = arena.matrix(rowCount: n, columnCount: k)
    for row in 0..<m { for column in 0..<k { aTransposed[column, row] = a[row, column] } }
    for row in 0..<k { for column in 0..<n { bTransposed[column, row] = b[row, column] } }
    let results = (0..<3).map { _ in random(m, n, "c", engine) }
    let before = results[0].elements
    engine.multiply(a, b, into: results[0], adding: adding)
    engine.multiply(a, transposed: bTransposed, into: results[1], adding: adding)
    engine.multiply(transposed: aTransposed, b, into: results[2], adding: adding)
    for row in 0..<m {
      for column in 0..<n {
        let product = (0..<k).reduce(0.0) { $0 + Double(a[row, $1]) * Double(b[$1, column]) }
        let expected = product + (adding ? Double(before[row * n + column]) : 0)
        for result in results { #expect(abs(Double(result[row, column]) - expected) < 1e-5) }
      }
    }
  }

  @Test(arguments: [(0, 4), (1, 4), (7, 2), (100, 3)])
  func partsCoverTheWholeOnce(count: Int, threadCount: Int) {
    let engine = ComputeEngine(threadCount: threadCount)
    let hits = arena.vector(of: Int32.self, count: count)
    engine.forEachPart(of: count, minimumPartCount: 1) { range in
      for index in range { hits[index] += 1 }
    }
    #expect(hits.elements.allSatisfy { $0 == 1 })
  }

  @Test func everyThreadFlushesDenormals() {
    let engine = ComputeEngine(threadCount: 2)
    let values = arena.vector(of: Float.self, count: 2)
    values.fill(Float.leastNormalMagnitude)
    engine.forEachPart(of: 2, minimumPartCount: 1) { range in
      for index in range { values[index] *= 0.5 }
    }
    #expect(values.elements == [0, 0])
  }

  /// OpenBLAS's threads are older than the engine: they have to flush denormals too.
  @Test(arguments: [1, 2]) func productsFlushDenormalsOnEveryThread(threadCount: Int) {
    let engine = ComputeEngine(threadCount: threadCount)
    let size = 512
    let a = arena.matrix(rowCount: size, columnCount: size)
    let b = arena.matrix(rowCount: size, columnCount: size)
    let c = arena.matrix(rowCount: size, columnCount: size)
    a.fill(Float.leastNormalMagnitude / 4)
    b.fill(1)
    engine.multiply(a, b, into: c)
    #expect(c.elements.allSatisfy { $0 == 0 })
  }

  @Test func gateFunctionsAreAccurate() {
    // One LSTM row whose candidate and gates see the same numbers: σ and tanh against the library's.
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

@Suite struct ProcessorsTests {
  @Test(arguments: [
    ("3", 1, [:], 2), ("3", 2, [:], 1), ("ff,00000001", 1, [:], 9), ("1", 4, [:], 1),
    ("f", 1, ["OMP_NUM_THREADS": "2"], 2),
    ("f", 2, ["OMP_NUM_THREADS": "99999999999"], 4), ("f", 2, ["OMP_NUM_THREADS": "many"], 2),
  ])
  func ranksShareTheProcessorsTheyMayUse(
    mask: String, rankCount: Int, environment: [String: String], expected: Int
  ) {
    #expect(Processors(mask: mask).threadCount(sharedBy: rankCount, environment: environment) == expected)
  }

  @Test func theMachineSaysWhichProcessorsAreAllowed() {
    #expect(Processors.allowed.count <= ProcessInfo.processInfo.processorCount)
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
    let engine = ComputeEngine(threadCount: 1)
    let arena = Arena()
    let values = arena.vector(of: Float.self, count: 100_000)
    engine.fillUniformly(values.data, count: values.count, limit: 2, key: RandomKey(seed: 5))
    let mean = values.elements.reduce(0.0) { $0 + Double($1) } / 100_000
    let square = values.elements.reduce(0.0) { $0 + Double($1) * Double($1) } / 100_000
    #expect(abs(mean) < 0.02)
    #expect(abs(square - 4.0 / 3) < 0.02)
    #expect(values.elements.allSatisfy { abs($0) < 2 })
  }

  @Test func theSameNumbersComeFromAnyNumberOfThreads() {
    let arena = Arena()
    let results = [1, 2, 3].map { threadCount in
      let values = arena.vector(of: Float.self, count: 200_000)
      ComputeEngine(threadCount: threadCount).fillUniformly(
        values.data, count: values.count, limit: 1, key: RandomKey(seed: 9))
      return values.elements
    }
    for result in results { #expect(firstDifference(result, results[0]) == nil) }
  }
}
