import Layers
import Tensors
import Testing

/// The softmax in bfloat16, and with a threshold below which blocks are approximated.
@Suite struct SoftmaxApproximationTests {
  /// Rounding to bfloat16 has a relative error of up to 2⁻⁹ per factor; without oneDNN both are the same.
  @Test(arguments: [1, 3]) func bfloat16StaysNearTheExactLossAndGradients(threadCount: Int) throws {
    let bench = SoftmaxBench()
    let exact = try bench.run(TestedEngine.reference.make())
    let rounded = try bench.run(try ComputeEngine(threadCount: threadCount, precision: .bfloat16))
    #expect(abs(rounded.loss - exact.loss) < 2e-3 * exact.loss)
    for (name, gradient) in exact.gradients {
      let error = relativeError(rounded.gradients[name], gradient)
      #expect(error < 8e-3, "\(name) is off by \(error)")
    }
  }

  /// Blocks without a probable token use a product of two vectors for their probabilities: sums over rows, among them the bias's
  /// gradient, stay exact, and so do sums over a block's tokens.
  @Test(arguments: TestedEngine.allCases) func aThresholdKeepsTheSumsOfBlocksBelowIt(kind: TestedEngine)
    throws
  {
    let bench = SoftmaxBench()
    let exact = try bench.run(kind.make())
    let all = try bench.run(kind.make(), threshold: 1e-12)
    let factored = try bench.run(kind.make(), threshold: 1e-3)
    #expect(all.loss == exact.loss && factored.loss == exact.loss)
    for (name, gradient) in exact.gradients {
      #expect(all.gradients[name] == gradient)
      let error = relativeError(factored.gradients[name], gradient)
      #expect(error < 4e-3, "\(name) is off by \(error)")
    }
    #expect(relativeError(factored.gradients["bias"], exact.gradients["bias"]) < 1e-6)
    #expect(factored.gradients["matrix"] != exact.gradients["matrix"])
    let (found, expected) = (
      try #require(factored.gradients["matrix"]), try #require(exact.gradients["matrix"])
    )
    for tokens in [1024..<1536, 1536..<2048, 2048..<2500] {
      let (sums, exactSums) = (columnSums(found, tokens), columnSums(expected, tokens))
      #expect(relativeError(sums, exactSums) < (kind == .fast ? 4e-3 : 1e-5))
    }
  }

  /// Tokens of a block that differ only in their biases have the same fraction of it in every row.
  @Test(arguments: TestedEngine.allCases) func aThresholdChangesNothingWhereTokensDifferOnlyInBias(
    kind: TestedEngine
  ) throws {
    let bench = SoftmaxBench()
    let matrix = bench.weights[bench.layer.embedding]
    for token in 1024..<2500 {
      matrix.row(token).update(from: matrix.row(token / 512 * 512), count: matrix.columnCount)
    }
    let exact = try bench.run(kind.make())
    let factored = try bench.run(kind.make(), threshold: 1e-3)
    for (name, gradient) in exact.gradients {
      let error = relativeError(factored.gradients[name], gradient)
      #expect(error < (kind == .fast ? 4e-4 : 1e-6), "\(name) is off by \(error)")
    }
  }

  private func columnSums(_ elements: [Float], _ rows: Range<Int>) -> [Float] {
    (0..<24).map { column in rows.reduce(0) { $0 + elements[$1 * 24 + column] } }
  }
}
