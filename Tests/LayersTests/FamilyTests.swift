import Foundation
import Layers
import Tensors
import Testing

/// The members of the family compute the same numbers as the multiplicative interactions that they are.
@Suite struct FamilyTests {
  let arena = Arena()
  let engine = ComputeEngine()

  private func matrix(_ name: String, _ rowCount: Int, _ columnCount: Int) -> Matrix {
    let matrix = arena.matrix(rowCount: rowCount, columnCount: columnCount)
    matrix.randomize(name, engine: engine)
    return matrix
  }

  /// A layer whose tensors are all zero except those that are set.
  struct Layer {
    let interaction: MultiplicativeInteraction
    let weights: Weights
    let gradients: ParameterBuffer
    let engine: ComputeEngine
    let arena: Arena

    init(
      _ kind: InteractionKind, context: Int, input: Int, output: Int, rank: Int = 1, arena: Arena,
      engine: ComputeEngine
    ) {
      var list = ParameterList()
      interaction = MultiplicativeInteraction(
        name: "m", kind: kind,
        shape: InteractionShape(contextWidth: context, inputWidth: input, outputWidth: output, rank: rank),
        in: &list)
      weights = Weights(ParameterBuffer(list), engine: engine)
      gradients = ParameterBuffer(list)
      (self.arena, self.engine) = (arena, engine)
    }

    /// A tensor by its letter.
    func tensor(_ letter: String) throws -> Matrix {
      weights.values[try #require(weights.values.list.parameters.first { $0.name == "m.\(letter)" })]
    }

    func output(context: Matrix, input: Matrix) -> Matrix {
      weights.refresh()
      let output = arena.matrix(rowCount: input.rowCount, columnCount: interaction.shape.outputWidth)
      interaction.forward(
        context: context, input: input, weights: weights,
        activations: interaction.activations(rowCount: input.rowCount, in: arena), into: output,
        engine: engine)
      return output
    }
  }

  private func expectEqual(
    _ left: Matrix, _ right: Matrix, tolerance: Float = 2e-6,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let difference = zip(left.elements, right.elements).map { abs($0 - $1) }.max() ?? .infinity
    #expect(left.count == right.count && difference <= tolerance, sourceLocation: sourceLocation)
  }

  @Test(arguments: InteractionKind.allCases)
  func theGeneratedMapIsTheInteraction(kind: InteractionKind) throws {
    let layer = Layer(kind, context: 3, input: 4, output: 5, rank: 2, arena: arena, engine: engine)
    layer.weights.values.randomize(engine: engine)
    let (context, input) = (matrix("context", 1, 3), matrix("input", 1, 4))
    let map = GeneratedMap(layer.interaction, in: arena)
    map.generate(from: context, weights: layer.weights, engine: engine)
    let output = layer.output(context: context, input: input)
    let (v, u, b) = (try layer.tensor("V"), try layer.tensor("U"), try layer.tensor("b"))
    for n in 0..<5 {
      let bias = b[0, n] + (0..<3).reduce(Float(0)) { $0 + context[0, $1] * u[$1, n] }
      #expect(abs(map.bias[0, n] - bias) < 2e-6)
      let value = bias + (0..<4).reduce(Float(0)) { $0 + input[0, $1] * map.weight[$1, n] }
      #expect(abs(output[0, n] - value) < 4e-6)
      for m in 0..<4 {
        let weight = try (0..<3).reduce(v[m, n]) { sum, k in
          let c = context[0, k]
          switch kind {
          case .full: return sum + c * (try layer.tensor("W"))[k * 4 + m, n]
          case .lowrank:
            let (a, b, o) = (try layer.tensor("A"), try layer.tensor("B"), try layer.tensor("C"))
            return sum + c * (a[k, 0] * b[m, 0] * o[n, 0] + a[k, 1] * b[m, 1] * o[n, 1])
          case .diagonal: return sum + c * v[m, n] * (try layer.tensor("D"))[k, n]
          case .scalar: return sum + c * v[m, n] * (try layer.tensor("s"))[0, k]
          }
        }
        #expect(abs(map.weight[m, n] - weight) < 4e-6)
      }
    }
  }

  @Test(arguments: InteractionKind.allCases)
  func gradientsOfAWholeInteractionMatchCentralDifferences(kind: InteractionKind) {
    let layer = Layer(kind, context: 3, input: 4, output: 5, rank: 2, arena: arena, engine: engine)
    layer.weights.values.randomize(engine: engine)
    let (context, input, target) = (matrix("context", 6, 3), matrix("input", 6, 4), matrix("target", 6, 5))
    let activations = layer.interaction.activations(rowCount: 6, in: arena)
    let output = arena.matrix(rowCount: 6, columnCount: 5)
    let contextGradient = arena.matrix(rowCount: 6, columnCount: 3)
    let inputGradient = arena.matrix(rowCount: 6, columnCount: 4)
    layer.interaction.forward(
      context: context, input: input, weights: layer.weights, activations: activations, into: output,
      engine: engine)
    layer.interaction.backward(
      context: context, input: input, outputGradient: target, weights: layer.weights,
      gradients: layer.gradients, activations: activations, intoContext: contextGradient,
      intoInput: inputGradient, engine: engine)
    expectGradientsMatch(
      layer.weights.checked(against: layer.gradients) + [
        CheckedTensor(name: "context", values: context, gradient: contextGradient),
        CheckedTensor(name: "input", values: input, gradient: inputGradient),
      ]
    ) { layer.output(context: context, input: input).dot(target) }
  }

  @Test func gatingIsTheDiagonalForm() throws {
    let layer = Layer(.diagonal, context: 4, input: 4, output: 4, arena: arena, engine: engine)
    for index in 0..<4 {
      (try layer.tensor("V"))[index, index] = 1
      (try layer.tensor("D"))[index, index] = 1
    }
    let (gate, x) = (matrix("gate", 3, 4), matrix("x", 3, 4))
    let (context, gated) = (
      arena.matrix(rowCount: 3, columnCount: 4), arena.matrix(rowCount: 3, columnCount: 4)
    )
    for row in 0..<3 {
      for column in 0..<4 { context[row, column] = gate[row, column] - 1 }
    }
    let nothing = arena.matrix(rowCount: 3, columnCount: 4)
    GatedResidual().forward(gate: gate, new: x, old: nothing, into: gated, engine: engine)
    expectEqual(layer.output(context: context, input: x), gated)
  }

  @Test func theGatedResidualIsAFullInteraction() throws {
    let layer = Layer(.full, context: 4, input: 8, output: 4, arena: arena, engine: engine)
    for k in 0..<4 {
      (try layer.tensor("W"))[k * 8 + k, k] = 1
      (try layer.tensor("W"))[k * 8 + 4 + k, k] = -1
      (try layer.tensor("V"))[4 + k, k] = 1
    }
    let (gate, new, old) = (matrix("gate", 3, 4), matrix("new", 3, 4), matrix("old", 3, 4))
    let input = arena.matrix(rowCount: 3, columnCount: 8)
    input.columns(0..<4).copy(from: new)
    input.columns(4..<8).copy(from: old)
    let output = arena.matrix(rowCount: 3, columnCount: 4)
    GatedResidual().forward(gate: gate, new: new, old: old, into: output, engine: engine)
    expectEqual(layer.output(context: gate, input: input), output)
    for row in 0..<3 {
      let z = gate[row, 1]
      #expect(abs(output[row, 1] - (z * new[row, 1] + (1 - z) * old[row, 1])) < 2e-6)
    }
  }

  @Test func gradientsOfTheGatedResidualMatchCentralDifferences() {
    let (gate, new, old) = (matrix("gate", 3, 20), matrix("new", 3, 20), matrix("old", 3, 20))
    let target = matrix("target", 3, 20)
    let output = arena.matrix(rowCount: 3, columnCount: 20)
    let gradients = (0..<3).map { _ in arena.matrix(rowCount: 3, columnCount: 20) }
    let layer = GatedResidual()
    layer.backward(
      gate: gate, new: new, old: old, outputGradient: target, intoGate: gradients[0],
      intoNew: gradients[1], intoOld: gradients[2], engine: engine)
    expectGradientsMatch([
      CheckedTensor(name: "gate", values: gate, gradient: gradients[0]),
      CheckedTensor(name: "new", values: new, gradient: gradients[1]),
      CheckedTensor(name: "old", values: old, gradient: gradients[2]),
    ]) {
      layer.forward(gate: gate, new: new, old: old, into: output, engine: engine)
      return output.dot(target)
    }
  }

  @Test func attentionWeightsAreASoftmaxOfLowRankInteractions() throws {
    var list = ParameterList()
    let attention = AttentionWeights(name: "a", inputWidth: 3, contextWidth: 5, width: 4, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    weights.values.randomize(engine: engine)
    let layer = Layer(.lowrank, context: 5, input: 3, output: 1, rank: 4, arena: arena, engine: engine)
    (try layer.tensor("A")).copy(from: weights[attention.key])
    (try layer.tensor("B")).copy(from: weights[attention.query])
    (try layer.tensor("C")).fill(0.5)
    let (input, contexts) = (matrix("input", 2, 3), matrix("contexts", 6, 5))
    let output = arena.matrix(rowCount: 2, columnCount: 6)
    attention.forward(
      input: input, contexts: contexts, weights: weights,
      activations: attention.activations(rowCount: 2, contextCount: 6, in: arena, engine: engine),
      into: output, engine: engine)
    for row in 0..<2 {
      let repeated = arena.matrix(rowCount: 6, columnCount: 3)
      for index in 0..<6 { repeated.rows(index..<index + 1).copy(from: input.rows(row..<row + 1)) }
      let logits = layer.output(context: contexts, input: repeated)
      let sum = logits.elements.reduce(Float(0)) { $0 + exp($1) }
      for index in 0..<6 { #expect(abs(output[row, index] - exp(logits[index, 0]) / sum) < 2e-6) }
    }
  }

  @Test func gradientsOfAttentionWeightsMatchCentralDifferences() {
    var list = ParameterList()
    let attention = AttentionWeights(name: "a", inputWidth: 3, contextWidth: 5, width: 4, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    let gradients = ParameterBuffer(list)
    weights.values.randomize(engine: engine)
    let (input, contexts, target) = (matrix("input", 2, 3), matrix("contexts", 6, 5), matrix("target", 2, 6))
    let activations = attention.activations(rowCount: 2, contextCount: 6, in: arena, engine: engine)
    let output = arena.matrix(rowCount: 2, columnCount: 6)
    let inputGradient = arena.matrix(rowCount: 2, columnCount: 3)
    let contextGradient = arena.matrix(rowCount: 6, columnCount: 5)
    func loss() -> Double {
      weights.refresh()
      attention.forward(
        input: input, contexts: contexts, weights: weights, activations: activations, into: output,
        engine: engine)
      return output.dot(target)
    }
    _ = loss()
    attention.backward(
      input: input, contexts: contexts, output: output, outputGradient: target, weights: weights,
      gradients: gradients, activations: activations, intoInput: inputGradient,
      intoContexts: contextGradient, engine: engine)
    expectGradientsMatch(
      weights.checked(against: gradients) + [
        CheckedTensor(name: "input", values: input, gradient: inputGradient),
        CheckedTensor(name: "contexts", values: contexts, gradient: contextGradient),
      ], loss: loss)
  }

  @Test func theMahalanobisDistanceIsAFullInteractionOfADifferenceWithItself() throws {
    var list = ParameterList()
    let metric = MahalanobisDistance(name: "d", width: 4, rank: 3, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    weights.values.randomize(engine: engine)
    let (x, z) = (matrix("x", 5, 4), matrix("z", 5, 4))
    let distances = arena.matrix(rowCount: 5, columnCount: 1)
    metric.forward(
      x, z, weights: weights, activations: metric.activations(rowCount: 5, in: arena), into: distances,
      engine: engine)
    let layer = Layer(.full, context: 4, input: 4, output: 1, arena: arena, engine: engine)
    let (factor, inverse) = (weights[metric.factor], try layer.tensor("W"))
    let difference = arena.matrix(rowCount: 5, columnCount: 4)
    for k in 0..<4 {
      for row in 0..<5 { difference[row, k] = x[row, k] - z[row, k] }
      for m in 0..<4 {
        inverse[k * 4 + m, 0] = (0..<3).reduce(Float(0)) { $0 + factor[k, $1] * factor[m, $1] }
      }
    }
    expectEqual(layer.output(context: difference, input: difference), distances, tolerance: 1e-5)
    #expect(distances.elements.allSatisfy { $0 > 0 })
  }

  @Test func gradientsOfTheMahalanobisDistanceMatchCentralDifferences() {
    var list = ParameterList()
    let metric = MahalanobisDistance(name: "d", width: 4, rank: 3, in: &list)
    let weights = Weights(ParameterBuffer(list), engine: engine)
    let gradients = ParameterBuffer(list)
    weights.values.randomize(engine: engine)
    let (x, z, target) = (matrix("x", 5, 4), matrix("z", 5, 4), matrix("target", 5, 1))
    let activations = metric.activations(rowCount: 5, in: arena)
    let distances = arena.matrix(rowCount: 5, columnCount: 1)
    let xGradient = arena.matrix(rowCount: 5, columnCount: 4)
    let zGradient = arena.matrix(rowCount: 5, columnCount: 4)
    func loss() -> Double {
      weights.refresh()
      metric.forward(x, z, weights: weights, activations: activations, into: distances, engine: engine)
      return distances.dot(target)
    }
    _ = loss()
    metric.backward(
      distanceGradient: target, weights: weights, gradients: gradients, activations: activations,
      intoX: xGradient, intoZ: zGradient, engine: engine)
    expectGradientsMatch(
      weights.checked(against: gradients) + [
        CheckedTensor(name: "x", values: x, gradient: xGradient),
        CheckedTensor(name: "z", values: z, gradient: zGradient),
      ], loss: loss)
  }
}
