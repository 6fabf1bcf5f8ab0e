import Foundation
import Layers
import Tensors

/// A vocabulary of five blocks, logits that leave most of the probability to the first.
struct SoftmaxBench {
  let arena = Arena()
  let layer: SoftmaxLoss
  let weights: ParameterBuffer
  let z: Matrix
  let targets: Vector<Int32>
  static let rowCount = 70

  init(rangeCount: Int = 1) {
    let engine = ComputeEngine(library: .openBLAS)
    var list = ParameterList()
    let embedding = Embedding(vocabularySize: 2500, width: 24, in: &list)
    layer = SoftmaxLoss(embedding: embedding.weight, rangeCount: rangeCount, in: &list)
    weights = ParameterBuffer(list)
    weights.randomize(limit: 0.4, engine: engine)
    for token in 600..<2500 { weights[layer.bias][0, token] -= 12 }
    z = arena.matrix(rowCount: Self.rowCount, columnCount: 24)
    z.randomize("z", limit: 1.5, engine: engine)
    targets = arena.vector(of: Int32.self, count: Self.rowCount)
    for row in 0..<Self.rowCount { targets[row] = Int32(row * 37 % 2500) }
  }

  func run(
    _ engine: ComputeEngine, threshold: Float = 0,
    finished: @escaping (GradientRange, [Float]) -> Void = { _, _ in }
  ) throws -> (loss: Double, gradients: [String: [Float]]) {
    let gradients = ParameterBuffer(weights.list)
    let zGradient = arena.matrix(rowCount: Self.rowCount, columnCount: 24)
    let workspace = SoftmaxWorkspace(
      shard: SoftmaxWorkspace.shard(of: 2500), width: 24, rowCount: Self.rowCount,
      byteBudget: 30 * 2500 * 4, threshold: threshold, scoringOnly: false, engine: engine, in: arena)
    let (loss, _) = try layer.forwardBackward(
      SoftmaxRows(output: z, targets: targets, gradient: zGradient), scale: 1 / Float(Self.rowCount),
      weights: Weights(weights, engine: engine), gradients: gradients, workspace: workspace,
      vocabulary: WholeVocabulary(vocabularySize: 2500), sink: RangeSink(gradients, finished))
    return (
      loss,
      [
        "matrix": gradients[layer.embedding].elements, "bias": gradients[layer.bias].elements,
        "z": zGradient.elements,
      ]
    )
  }
}

/// The norm of the difference, relative to that of what is expected.
func relativeError(_ found: [Float]?, _ expected: [Float]?) -> Double {
  guard let found, let expected else { return .infinity }
  let difference = zip(found, expected).reduce(0.0) { $0 + pow(Double($1.0) - Double($1.1), 2) }
  return (difference / expected.reduce(0.0) { $0 + pow(Double($1), 2) }).squareRoot()
}

/// A sink that records each range with its elements when it is finished.
private final class RangeSink: GradientSink {
  private let gradients: ParameterBuffer
  private let finished: (GradientRange, [Float]) -> Void

  init(_ gradients: ParameterBuffer, _ finished: @escaping (GradientRange, [Float]) -> Void) {
    self.gradients = gradients
    self.finished = finished
  }

  func finish(_ range: GradientRange) { finished(range, gradients.flat.columns(range.range).elements) }
  func finish(rows: Matrix, of tokens: Vector<Int32>) {}
}
