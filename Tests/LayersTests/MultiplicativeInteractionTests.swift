import Layers
import Tensors
import Testing

@Suite struct MultiplicativeInteractionTests {
  static let shapes = [
    InteractionShape(contextWidth: 3, inputWidth: 4, outputWidth: 4, rank: 2),
    InteractionShape(contextWidth: 2, inputWidth: 5, outputWidth: 3, rank: 4),
    InteractionShape(contextWidth: 1, inputWidth: 2, outputWidth: 18, rank: 1),
  ]

  static let everyForm = InteractionKind.allCases.flatMap { kind in shapes.map { (kind, $0) } }

  /// A layer with random weights and inputs for five rows.
  struct Bench {
    let engine: ComputeEngine
    let arena = Arena()
    let layer: MultiplicativeInteraction
    let weights: Weights
    let gradients: ParameterBuffer
    let activations: InteractionActivations
    let context: Matrix
    let input: Matrix
    let output: Matrix

    init(_ kind: InteractionKind, _ shape: InteractionShape, _ engine: ComputeEngine) {
      self.engine = engine
      var list = ParameterList()
      layer = MultiplicativeInteraction(name: "m", kind: kind, shape: shape, in: &list)
      weights = Weights(ParameterBuffer(list), engine: engine)
      gradients = ParameterBuffer(list)
      weights.values.randomize(engine: engine)
      activations = layer.activations(rowCount: 5, in: arena)
      context = arena.matrix(rowCount: 5, columnCount: shape.contextWidth)
      input = arena.matrix(rowCount: 5, columnCount: shape.inputWidth)
      output = arena.matrix(rowCount: 5, columnCount: shape.outputWidth)
      context.randomize("context", engine: engine)
      input.randomize("input", engine: engine)
    }

    func forward() {
      weights.refresh()
      layer.project(input, weights: weights, activations: activations, engine: engine)
      layer.contract(
        context: context, weights: weights, activations: activations, into: output, engine: engine)
    }

    func parameter(_ name: String) -> [Float]? {
      weights.values.list.parameters.first { $0.name == "m.\(name)" }.map { weights[$0].elements }
    }
  }

  @Test(arguments: everyForm, TestedEngine.allCases)
  func gradientsMatchCentralDifferences(
    form: (kind: InteractionKind, shape: InteractionShape), engine: TestedEngine
  ) throws {
    let (kind, shape) = form
    let bench = Bench(kind, shape, try engine.make())
    let target = bench.arena.matrix(rowCount: 5, columnCount: shape.outputWidth)
    target.randomize("target", engine: bench.engine)
    func loss() -> Double {
      bench.forward()
      return bench.output.dot(target)
    }
    _ = loss()
    let contextGradient = bench.arena.matrix(rowCount: 5, columnCount: shape.contextWidth)
    let inputGradient = bench.arena.matrix(rowCount: 5, columnCount: shape.inputWidth)
    bench.layer.contractBackward(
      outputGradient: target, weights: bench.weights, activations: bench.activations, into: contextGradient,
      engine: bench.engine)
    bench.layer.projectBackward(
      input: bench.input, context: bench.context, outputGradient: target, weights: bench.weights,
      gradients: bench.gradients, activations: bench.activations, into: inputGradient, engine: bench.engine)
    expectGradientsMatch(
      bench.weights.checked(against: bench.gradients) + [
        CheckedTensor(name: "context", values: bench.context, gradient: contextGradient),
        CheckedTensor(name: "input", values: bench.input, gradient: inputGradient),
      ], loss: loss)
  }

  @Test(arguments: everyForm, TestedEngine.allCases)
  func outputFollowsTheDefinition(
    form: (kind: InteractionKind, shape: InteractionShape), engine: TestedEngine
  ) throws {
    let (kind, shape) = form
    let bench = Bench(kind, shape, try engine.make())
    bench.forward()
    let v = try #require(bench.parameter("V"))
    let u = try #require(bench.parameter("U"))
    let b = try #require(bench.parameter("b"))
    for row in 0..<5 {
      for n in 0..<shape.outputWidth {
        var expected = Double(b[n])
        for k in 0..<shape.contextWidth {
          expected += Double(bench.context[row, k]) * Double(u[k * shape.outputWidth + n])
        }
        for m in 0..<shape.inputWidth {
          var weight = Double(v[m * shape.outputWidth + n])
          for k in 0..<shape.contextWidth {
            weight += Double(bench.context[row, k]) * w(k, m, n, kind, shape, bench)
          }
          expected += Double(bench.input[row, m]) * weight
        }
        #expect(abs(Double(bench.output[row, n]) - expected) < 1e-5)
      }
    }
  }

  /// `W[k, m, n]` computed from the form's tensors.
  private func w(
    _ k: Int, _ m: Int, _ n: Int, _ kind: InteractionKind, _ shape: InteractionShape, _ bench: Bench
  ) -> Double {
    func entry(_ name: String, _ row: Int, _ columnCount: Int, _ column: Int) -> Double {
      Double(bench.parameter(name)?[row * columnCount + column] ?? .nan)
    }
    switch kind {
    case .full: return entry("W", k * shape.inputWidth + m, shape.outputWidth, n)
    case .lowrank:
      return (0..<shape.rank).reduce(0) { sum, r in
        sum + entry("A", k, shape.rank, r) * entry("B", m, shape.rank, r) * entry("C", n, shape.rank, r)
      }
    case .diagonal: return entry("V", m, shape.outputWidth, n) * entry("D", k, shape.outputWidth, n)
    case .scalar: return entry("V", m, shape.outputWidth, n) * entry("s", k, 1, 0)
    }
  }

  /// With the common rate for all of a full W the change would be 33 times larger, and the loss would diverge.
  @Test func oneStepOfAdamChangesNoOutputByMoreThanTheRateTimesTheReference() throws {
    let engine = try TestedEngine.reference.make()
    var list = ParameterList()
    let shape = InteractionShape(contextWidth: 32, inputWidth: 1024, outputWidth: 8, rank: 1)
    let layer = MultiplicativeInteraction(name: "m", kind: .full, shape: shape, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    let gradients = ParameterBuffer(list)
    weights.values.initialize(seed: 1, engine: engine)
    gradients.flat.fill(-1)
    let arena = Arena()
    let activations = layer.activations(rowCount: 1, in: arena)
    let context = arena.matrix(rowCount: 1, columnCount: 32)
    let input = arena.matrix(rowCount: 1, columnCount: 1024)
    let outputs = (0..<2).map { _ in arena.matrix(rowCount: 1, columnCount: 8) }
    context.fill(1)
    input.fill(1)
    let optimizer = Optimizer(OptimizerConfiguration(), list: list, engine: engine)
    for output in outputs {
      layer.project(input, weights: weights, activations: activations, engine: engine)
      layer.contract(
        context: context, weights: weights, activations: activations, into: output, engine: engine)
      optimizer.update(
        weights.values, gradient: gradients, gradientScale: 1, learningRate: 1e-3, updateCount: 1)
      weights.refresh()
    }
    let movement = zip(outputs[0].elements, outputs[1].elements).map { abs($1 - $0) }.max() ?? 0
    // W and V change the output by at most 1.024 each, U and b by 0.033.
    #expect(movement > 1 && movement < 2.1)
  }
}
