import Tensors

/// The parametrization of the tensor `W` of a multiplicative interaction; see `MultiplicativeInteraction`.
package enum InteractionKind: String, CaseIterable, Sendable, Codable {
  /// Every `Wₖ` free.
  case full
  /// `W[k,m,n] = Σᵣ A[k,r] B[m,r] C[n,r]`.
  case lowrank
  /// `W'(c) = V · diag(1 + cᵀD)`.
  case diagonal
  /// `W'(c) = (1 + cᵀs) · V`.
  case scalar
}

/// The sizes of a multiplicative interaction.
package struct InteractionShape: Sendable, Equatable {
  /// K, the width of the context.
  package let contextWidth: Int
  package let inputWidth: Int
  package let outputWidth: Int
  /// R, of the low-rank form.
  package let rank: Int

  /// A context of width K, an input and an output.
  package init(contextWidth: Int, inputWidth: Int, outputWidth: Int, rank: Int) {
    self.contextWidth = contextWidth
    self.inputWidth = inputWidth
    self.outputWidth = outputWidth
    self.rank = rank
  }

  /// The learning rate scale of the layer that computes the context.
  ///
  /// One entry of c changes the output by a whole `x·Wₖ`, so the context's layer learns as slowly as `W`.
  package var contextLearningRateScale: Float {
    Self.learningRateScale(fanIn: contextWidth * inputWidth)
  }

  /// The factor of Adam's rate for a tensor of which `fanIn` entries contribute to each output.
  ///
  /// Adam changes every entry by about the rate, so one step changes an output by about rate × fan-in ×
  /// the inputs' mean magnitude; with a full `W` that is K × input width, and at the common rate the loss diverges
  /// within ten steps. Beyond `reference` entries the rate falls as 1 / fan-in (the rule of Yang & Hu 2021
  /// for hidden layers), which bounds that change for every shape.
  static func learningRateScale(fanIn: Int) -> Float {
    let reference: Float = 1024
    return min(1, reference / Float(fanIn))
  }
}

/// Rows of a multiplicative interaction's intermediate values, saved from forward to backward.
package struct InteractionActivations: Sendable {
  /// The part that depends on the input alone.
  let projected: Matrix
  /// The part that depends on the context alone.
  let modulation: Matrix
  /// Their product.
  let modulated: Matrix
  /// dL/dmodulation.
  let modulationGradient: Matrix
  /// dL/dmodulated.
  let modulatedGradient: Matrix
  /// Temporary values of the backward pass.
  let scratch: Matrix

  init(rowCount: Int, projected: Int, modulation: Int, modulated: Int, scratch: Int, in arena: Arena) {
    self.projected = arena.matrix(rowCount: rowCount, columnCount: projected)
    self.modulation = arena.matrix(rowCount: rowCount, columnCount: modulation)
    self.modulated = arena.matrix(rowCount: rowCount, columnCount: modulated)
    modulationGradient = arena.matrix(rowCount: rowCount, columnCount: modulation)
    modulatedGradient = arena.matrix(rowCount: rowCount, columnCount: modulated)
    self.scratch = arena.matrix(rowCount: rowCount, columnCount: scratch)
  }

  init(_ other: InteractionActivations, rows: Range<Int>) {
    projected = other.projected.rows(rows)
    modulation = other.modulation.rows(rows)
    modulated = other.modulated.rows(rows)
    modulationGradient = other.modulationGradient.rows(rows)
    modulatedGradient = other.modulatedGradient.rows(rows)
    scratch = other.scratch.rows(rows)
  }

  /// The view of some rows.
  package func rows(_ range: Range<Int>) -> InteractionActivations {
    InteractionActivations(self, rows: range)
  }
}

/// The part of a multiplicative interaction that depends on the parametrization of `W`; it includes `x·V`.
///
/// The computation is split where the context enters: `project` and `projectBackward` need all
/// rows but no context of a later step, so they are one product for a whole segment;
/// `contract` and `contractBackward` run within the recurrence.
protocol InteractionForm: Sendable {
  func activations(rowCount: Int, in arena: Arena) -> InteractionActivations

  /// The matrix products of `project`.
  func projectProducts(v: Parameter) -> [LayerProduct]

  /// The matrix products of `contract`.
  var contractProducts: [LayerProduct] { get }

  /// Computes what depends on the input alone.
  func project(
    _ input: Matrix, v: Parameter, weights: Weights, activations: InteractionActivations,
    engine: ComputeEngine)

  /// Adds the interaction to the output, which holds `c·U + b`.
  func contract(
    context: Matrix, weights: Weights, activations: InteractionActivations, addingTo output: Matrix,
    engine: ComputeEngine)

  /// Adds the interaction's part of the context's gradient.
  func contractBackward(
    outputGradient: Matrix, weights: Weights, activations: InteractionActivations,
    addingTo contextGradient: Matrix, engine: ComputeEngine)

  /// Sets the input's gradient and adds the gradients of `v` and of the form's own tensors.
  func projectBackward(
    input: Matrix, context: Matrix, outputGradient: Matrix, v: Parameter, weights: Weights,
    gradients: ParameterBuffer, activations: InteractionActivations, into inputGradient: Matrix,
    engine: ComputeEngine)
}
