import Layers
import Tensors

/// The layers between embedding and decoder: a function of time-major rows whose state is the last rows of some matrices.
///
/// The LSTM with or without its multiplicative encoder is one, the Transformer-XL another. Training, checkpoints, memory and
/// evaluation know the state by its names only.
protocol SequenceCore: Sendable {
  /// The width of its output rows.
  var outputWidth: Int { get }
  /// The ranges of the flat gradient, in the order in which a pass finishes them; they adjoin, lowest first.
  var gradientRanges: [GradientRange] { get }
  /// The matrix products of a forward pass.
  var products: [LayerProduct] { get }

  /// Memory for segments of one size.
  func pass(
    stepCount: Int, laneCount: Int, purpose: PassPurpose, engine: ComputeEngine, in arena: Arena
  ) -> any CorePass
}

/// The purpose of a pass.
package enum PassPurpose: Sendable {
  /// Forward and backward.
  case training
  /// Forward and backward, the forward pass as for scoring.
  case dynamicEvaluation
  /// Forward only; every token sees the same number of tokens before it, whatever the segments.
  case scoring
}

/// A core's memory for segments of T steps in B lanes, and the passes through it; its state is carried there.
protocol CorePass: Sendable {
  /// The output of the last forward pass, T·B × width.
  var outputs: Matrix { get }
  /// The state before the first step.
  var carriedState: CarriedState { get }

  /// Makes the state after the first `stepCount` steps that before the first one.
  func carryState(after stepCount: Int)

  /// Runs the steps of x, which are the first ones of a segment or all T of them; `masks` is nil where nothing is dropped.
  func forward(_ input: Matrix, weights: Weights, masks: DropoutMasks?, engine: ComputeEngine)

  /// Back-propagates through all steps of the last forward pass, from dL/d(outputs), which is overwritten.
  ///
  /// Sets dL/dx, adds the weights' gradients, and passes each finished range to `sink`.
  func backward(
    _ input: Matrix, outputGradient: Matrix, weights: Weights, gradients: ParameterBuffer,
    into inputGradient: Matrix, masks: DropoutMasks?, engine: ComputeEngine, sink: (any GradientSink)?
  ) throws
}

/// The dropout masks of one segment: pure functions of a name, the global lane and the time.
struct DropoutMasks: Sendable {
  /// B.
  let laneCount: Int
  /// The global number of this rank's first lane.
  let firstLane: Int
  /// The time of the first row within its step.
  let firstTime: Int
  /// The step's stream of random numbers.
  let key: RandomKey

  /// Drops elements of time-major rows, or those of their gradient; each name has a mask of its own.
  func apply(_ dropout: Dropout, _ name: String, to values: Matrix, engine: ComputeEngine) {
    dropout.apply(
      to: values, laneCount: laneCount, firstLane: firstLane, firstTime: firstTime, key: key.derived(name),
      engine: engine)
  }
}
