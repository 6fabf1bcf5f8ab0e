import CKernels
import Tensors

/// A long short-term memory layer (Hochreiter & Schmidhuber 1997) over T time steps
/// of B lanes, rows time-major.
///
/// `i, f, o = σ(·)`, `g = tanh(·)` of `x·W_ihᵀ + h·W_hhᵀ + b`; `c = f·c + i·g`; `h = o·tanh(c)`.
/// The loop over the steps is the caller's, because an encoder may need h to compute the next x.
package struct LSTM: Sendable {
  /// E, the width of the input.
  package let inputWidth: Int
  /// H, the width of h and c.
  package let hiddenWidth: Int
  /// 4H × E, gates in the order input, forget, cell, output.
  package let inputWeight: Parameter
  /// 4H × H.
  package let recurrentWeight: Parameter
  /// 4H.
  package let bias: Parameter

  /// Declares `lstm.weight_ih`, `lstm.weight_hh` and `lstm.bias`; the weights start uniform in ±1/√H.
  package init(inputWidth: Int, hiddenWidth: Int, in list: inout ParameterList) {
    self.inputWidth = inputWidth
    self.hiddenWidth = hiddenWidth
    let start = Parameter.Initialization.uniform(limit: 1 / Float(hiddenWidth).squareRoot())
    inputWeight = list.add("lstm.weight_ih", shape: [4 * hiddenWidth, inputWidth], initialization: start)
    recurrentWeight = list.add(
      "lstm.weight_hh", shape: [4 * hiddenWidth, hiddenWidth], initialization: start)
    bias = list.add("lstm.bias", shape: [4 * hiddenWidth], initialization: .zero, decays: false)
  }

  /// The matrix products of its forward pass: `addInput`, `forward`.
  package var products: [LayerProduct] {
    [LayerProduct(transposed: inputWeight), LayerProduct(transposed: recurrentWeight).perStep]
  }

  /// The saved values of a segment for its backward pass; slot t of `hidden` and `cell` is the state before step t.
  package struct Activations: Sendable {
    /// (T + 1)·B × H.
    package let hidden: Matrix
    /// (T + 1)·B × H.
    package let cell: Matrix
    /// T·B × H.
    let cellTanh: Matrix
    /// T·B × 4H: activated gates, after backward the gradients of the pre-activations.
    let gates: Matrix
    /// B × H: dL/dc before the step that was last back-propagated.
    package let cellGradient: Matrix
    let laneCount: Int

    /// Memory for segments of `stepCount` steps.
    package init(_ layer: LSTM, stepCount: Int, laneCount: Int, in arena: Arena) {
      let rowCount = stepCount * laneCount
      let width = layer.hiddenWidth
      self.laneCount = laneCount
      hidden = arena.matrix(rowCount: rowCount + laneCount, columnCount: width)
      cell = arena.matrix(rowCount: rowCount + laneCount, columnCount: width)
      cellTanh = arena.matrix(rowCount: rowCount, columnCount: width)
      gates = arena.matrix(rowCount: rowCount, columnCount: 4 * width)
      cellGradient = arena.matrix(rowCount: laneCount, columnCount: width)
    }

    /// h before step t, B × H.
    package func hiddenBefore(_ step: Int) -> Matrix {
      hidden.rows(step * laneCount..<(step + 1) * laneCount)
    }

    /// h of all steps, T·B × H.
    package var outputs: Matrix { hidden.rows(laneCount..<hidden.rowCount) }

    func rows(_ step: Int) -> Range<Int> { step * laneCount..<(step + 1) * laneCount }
  }

  /// Initializes the gates of some rows to `x·W_ihᵀ + b`; x has these rows.
  package func addInput(
    _ input: Matrix, rows: Range<Int>, weights: Weights, activations: Activations,
    engine: ComputeEngine
  ) {
    let gates = activations.gates.rows(rows)
    engine.multiply(input, weights.right(transposed: inputWeight), into: gates)
    engine.add(row: weights[bias], toRowsOf: gates)
  }

  /// Computes step t, from slot t of the state to slot t + 1; the gates already hold the input's part.
  package func forward(step: Int, weights: Weights, activations: Activations, engine: ComputeEngine) {
    let rows = activations.rows(step)
    let gates = activations.gates.rows(rows)
    engine.multiply(
      activations.hiddenBefore(step), weights.right(transposed: recurrentWeight), into: gates, adding: true)
    let next = activations.laneCount
    engine.forEachRowPart(of: gates) { lanes in
      for row in lanes.lowerBound + rows.lowerBound..<lanes.upperBound + rows.lowerBound {
        CKernels_lstmForward(
          activations.gates.row(row), activations.cell.row(row), activations.cell.row(row + next),
          activations.cellTanh.row(row), activations.hidden.row(row + next), hiddenWidth)
      }
    }
  }

  /// Back-propagates step t: `outputGradient` is dL/dh after the step, including the later steps' part; `previousGradient` becomes
  /// dL/dh before it.
  ///
  /// The gates' rows become the gradient of the pre-activations.
  /// `startBackward` comes before the last step's call.
  package func backward(
    step: Int, outputGradient: Matrix, weights: Weights, into previousGradient: Matrix,
    activations: Activations, engine: ComputeEngine
  ) {
    let rows = activations.rows(step)
    let gates = activations.gates.rows(rows)
    engine.forEachRowPart(of: gates) { lanes in
      for lane in lanes {
        let row = rows.lowerBound + lane
        CKernels_lstmBackward(
          activations.gates.row(row), activations.cell.row(row), activations.cellTanh.row(row),
          outputGradient.row(lane), activations.cellGradient.row(lane), hiddenWidth)
      }
    }
    engine.multiply(gates, weights.right(recurrentWeight), into: previousGradient)
  }

  /// Sets dL/dc after the last step to zero: gradients are truncated at the end of a segment.
  package func startBackward(_ activations: Activations) {
    activations.cellGradient.fill(0)
  }

  /// Sets `inputGradient` to `dgates · W_ih` for some rows.
  package func inputBackward(
    rows: Range<Int>, weights: Weights, into inputGradient: Matrix, activations: Activations,
    engine: ComputeEngine
  ) {
    engine.multiply(activations.gates.rows(rows), weights.right(inputWeight), into: inputGradient)
  }

  /// Adds the weights' gradients of the whole segment: `dgatesᵀ·x`, `dgatesᵀ·h` and the column sums.
  package func addWeightGradients(
    input: Matrix, gradients: ParameterBuffer, activations: Activations, engine: ComputeEngine
  ) {
    let gates = activations.gates
    let before = activations.hidden.rows(0..<gates.rowCount)
    engine.multiply(
      transposed: gates, [input, before], addingTo: [gradients[inputWeight], gradients[recurrentWeight]])
    engine.addColumnSums(of: gates, to: gradients[bias])
  }
}
