import Communication
import LanguageModel
import Platform
import Reporting
import Tensors
import Training

/// Speed of the matrix products of a step, each by itself, and the peak.
package struct ProductBenchmark {
  /// One product: m × k times k × n.
  package struct Product: Encodable, Sendable {
    /// Its purpose.
    package let name: String
    /// m.
    package let rows: Int
    /// n.
    package let columns: Int
    /// k.
    package let depth: Int
    /// GFLOP/s of the run's engine.
    package let gigaflops: Double
    /// GFLOP/s of OpenBLAS in fp32.
    package let openBLASGigaflops: Double
  }

  /// The products of a model and the peak.
  package struct Result: Encodable, Sendable {
    /// The library of matrix products.
    package let engine: String
    /// The instruction set that the library uses.
    package let cpuLevel: String
    /// Precision of the operands.
    package let precision: String
    /// Compute threads.
    package let threads: Int
    /// The peak: a large square product.
    package let peakGigaflops: Double
    /// The products of the model's step.
    package let products: [Product]
  }

  private let benchmark: Benchmark

  /// The products of a benchmark's model.
  package init(_ benchmark: Benchmark) { self.benchmark = benchmark }

  /// Measures them one after the other, on every rank at once; the result is this rank's.
  package func run(progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) throws -> Result {
    let engine = try benchmark.configuration.training.engine(benchmark.ranks)
    let reference = try ComputeEngine(threadCount: engine.threadCount, library: .openBLAS)
    let shapes = self.shapes
    let needs = shapes.map { shape in
      let arena = Arena(counting: true)
      let operands = Operands(shape.rows, shape.columns, shape.depth, in: arena)
      return arena.byteCount + engine.packedByteCount([operands.right])
    }
    try benchmark.checkMemory(byteCount: needs.max() ?? 0)
    let products = shapes.enumerated().map { index, shape in
      defer { progress(index + 1, shapes.count) }
      return Product(
        name: shape.name, rows: shape.rows, columns: shape.columns, depth: shape.depth,
        gigaflops: Self.gigaflops(engine, shape.rows, shape.columns, shape.depth),
        openBLASGigaflops: Self.gigaflops(reference, shape.rows, shape.columns, shape.depth))
    }
    return Result(
      engine: engine.name, cpuLevel: engine.cpuLevel, precision: engine.precision.rawValue,
      threads: engine.threadCount, peakGigaflops: Self.peakGigaflops(engine), products: products)
  }

  private typealias Shape = (name: String, rows: Int, columns: Int, depth: Int)

  /// The products that the layers state, forward and backward with respect to the input, on a rank's rows.
  private var shapes: [Shape] {
    let training = benchmark.configuration.training
    let laneCount = training.lanes / benchmark.ranks.rankCount
    let model = LanguageModel(benchmark.configuration.model, vocabularySize: benchmark.vocabularySize)
    return model.products.flatMap { product -> [Shape] in
      let rows = product.isPerStep ? laneCount : laneCount * training.segment
      let (columns, depth) = (product.blockLength, product.depth)
      return [
        ("\(product.name), forward", rows, columns, depth),
        ("\(product.name), backward", rows, depth, columns),
      ]
    }
  }

  /// The matrices of a product.
  private struct Operands {
    let left: Matrix
    let right: Matrix
    let result: Matrix

    init(_ m: Int, _ n: Int, _ k: Int, in arena: Arena) {
      left = arena.matrix(rowCount: m, columnCount: k)
      right = arena.matrix(rowCount: k, columnCount: n)
      result = arena.matrix(rowCount: m, columnCount: n)
    }
  }

  /// GFLOP/s of a product so large that caches hardly matter.
  static func peakGigaflops(_ engine: ComputeEngine) -> Double {
    gigaflops(engine, 2048, 2048, 2048)
  }

  /// The best of several repetitions, without packing, which happens once per step.
  private static func gigaflops(_ engine: ComputeEngine, _ m: Int, _ n: Int, _ k: Int) -> Double {
    let arena = Arena()
    let operands = Operands(m, n, k, in: arena)
    let (a, b) = (operands.left, operands.right)
    engine.fillUniformly(a.data, count: a.count, limit: 1, key: RandomKey(seed: 1))
    engine.fillUniformly(b.data, count: b.count, limit: 1, key: RandomKey(seed: 2))
    let packed = engine.packedMatrix([b])
    engine.pack(packed)
    let operationCount = 2 * Double(m) * Double(n) * Double(k)
    // Some milliseconds per repetition, so that the clock's overhead does not matter; small products cost calls, not FLOPs.
    let callCount = max(1, min(10_000, Int(4e9 / operationCount)))
    let clock = ContinuousClock()
    var best = 0.0
    for repetition in 0..<8 {
      let start = clock.now
      for _ in 0..<callCount { engine.multiply(a, packed, into: operands.result) }
      let seconds = (clock.now - start).inSeconds
      if repetition > 0 { best = max(best, Double(callCount) * operationCount / seconds / 1e9) }
    }
    withExtendedLifetime(arena) {}
    return best
  }
}
