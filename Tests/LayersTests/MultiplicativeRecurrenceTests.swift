import Layers
import Tensors
import Testing

/// The multiplicative recurrent input, `mₜ = (hₜ₋₁ A) ⊙ (xₜ B)`, of Sutskever, Martens & Hinton (2011).
///
/// It is the low-rank form with the previous state as its context.
@Suite struct MultiplicativeRecurrenceTests {
  /// Three time steps of two sequences: `hₜ = M(hₜ₋₁, xₜ)`, rows in the order of time.
  struct Recurrence {
    static let (steps, lanes) = (3, 2)
    let engine: ComputeEngine
    let arena = Arena()
    let layer: MultiplicativeInteraction
    let weights: Weights
    let gradients: ParameterBuffer
    let activations: InteractionActivations
    let inputs: Matrix
    /// The state before the first step, and after every step.
    let states: Matrix

    init(_ engine: ComputeEngine) {
      self.engine = engine
      var list = ParameterList()
      layer = MultiplicativeInteraction(
        name: "m", kind: .lowrank,
        shape: InteractionShape(contextWidth: 4, inputWidth: 3, outputWidth: 4, rank: 5), in: &list)
      weights = Weights(ParameterBuffer(list), engine: engine)
      gradients = ParameterBuffer(list)
      weights.values.randomize(engine: engine)
      let rowCount = Self.steps * Self.lanes
      activations = layer.activations(rowCount: rowCount, in: arena)
      inputs = arena.matrix(rowCount: rowCount, columnCount: 3)
      states = arena.matrix(rowCount: rowCount + Self.lanes, columnCount: 4)
      inputs.randomize("inputs", engine: engine)
      states.rows(0..<Self.lanes).randomize("state", engine: engine)
    }

    func rows(_ step: Int) -> Range<Int> { step * Self.lanes..<(step + 1) * Self.lanes }

    func forward() {
      weights.refresh()
      layer.project(inputs, weights: weights, activations: activations, engine: engine)
      for step in 0..<Self.steps {
        layer.contract(
          context: states.rows(rows(step)), weights: weights, activations: activations.rows(rows(step)),
          into: states.rows(rows(step + 1)), engine: engine)
      }
    }

    func tensor(_ letter: String) throws -> Matrix {
      weights.values[try #require(weights.values.list.parameters.first { $0.name == "m.\(letter)" })]
    }
  }

  @Test func withoutItsOtherTermsTheInteractionIsTheMultiplicativeInput() throws {
    let recurrence = Recurrence(try TestedEngine.fast.make())
    for letter in ["U", "V", "b"] { (try recurrence.tensor(letter)).fill(0) }
    recurrence.forward()
    let (a, b, c) = (try recurrence.tensor("A"), try recurrence.tensor("B"), try recurrence.tensor("C"))
    for row in 0..<Recurrence.steps * Recurrence.lanes {
      let product = (0..<5).map { r in
        let fromState = (0..<4).reduce(Float(0)) { $0 + recurrence.states[row, $1] * a[$1, r] }
        return fromState * (0..<3).reduce(Float(0)) { $0 + recurrence.inputs[row, $1] * b[$1, r] }
      }
      for n in 0..<4 {
        let expected = (0..<5).reduce(Float(0)) { $0 + product[$1] * c[n, $1] }
        #expect(abs(recurrence.states[row + Recurrence.lanes, n] - expected) < 2e-6)
      }
    }
  }

  @Test(arguments: TestedEngine.allCases)
  func gradientsThroughTimeMatchCentralDifferences(kind: TestedEngine) throws {
    let recurrence = Recurrence(try kind.make())
    let (engine, arena) = (recurrence.engine, recurrence.arena)
    let last = recurrence.states.rows(recurrence.rows(Recurrence.steps))
    let target = arena.matrix(rowCount: Recurrence.lanes, columnCount: 4)
    target.randomize("target", engine: engine)
    func loss() -> Double {
      recurrence.forward()
      return last.dot(target)
    }
    _ = loss()
    let stateGradients = arena.matrix(rowCount: recurrence.states.rowCount, columnCount: 4)
    let inputGradient = arena.matrix(rowCount: recurrence.inputs.rowCount, columnCount: 3)
    stateGradients.rows(recurrence.rows(Recurrence.steps)).copy(from: target)
    for step in (0..<Recurrence.steps).reversed() {
      recurrence.layer.contractBackward(
        outputGradient: stateGradients.rows(recurrence.rows(step + 1)), weights: recurrence.weights,
        activations: recurrence.activations.rows(recurrence.rows(step)),
        into: stateGradients.rows(recurrence.rows(step)), engine: engine)
    }
    let rowCount = recurrence.inputs.rowCount
    recurrence.layer.projectBackward(
      input: recurrence.inputs, context: recurrence.states.rows(0..<rowCount),
      outputGradient: stateGradients.rows(Recurrence.lanes..<rowCount + Recurrence.lanes),
      weights: recurrence.weights, gradients: recurrence.gradients, activations: recurrence.activations,
      into: inputGradient, engine: engine)
    expectGradientsMatch(
      recurrence.weights.checked(against: recurrence.gradients) + [
        CheckedTensor(name: "inputs", values: recurrence.inputs, gradient: inputGradient),
        CheckedTensor(
          name: "first state", values: recurrence.states.rows(recurrence.rows(0)),
          gradient: stateGradients.rows(recurrence.rows(0))),
      ], loss: loss)
  }
}
