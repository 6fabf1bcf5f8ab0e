import CKernels
import Tensors

/// What an optimizer is set to.
public struct OptimizerConfiguration: Sendable, Equatable {
  /// The rule of the update.
  public enum Kind: String, CaseIterable, Sendable, Codable {
    /// Adam (Kingma & Ba 2015).
    case adam
    /// Gradient descent with momentum.
    case sgd
  }

  /// The rule of the update.
  public var kind = Kind.adam
  /// The common rate at the top of the schedule.
  public var learningRate = 1.0e-3
  /// Adam's decay of the mean.
  public var beta1 = 0.9
  /// Adam's decay of the mean square.
  public var beta2 = 0.999
  /// What Adam adds to the root of the mean square.
  public var epsilon = 1.0e-8
  /// The momentum of gradient descent.
  public var momentum = 0.9
  /// The decoupled decay a step, times the rate; not on biases or the embedding.
  public var weightDecay = 0.0
  /// The global norm beyond which a gradient is scaled down to it; 0 leaves it as it is.
  public var clip = 0.25

  /// The defaults.
  public init() {}
}

/// Turns a gradient into a change of the parameters, the same bits on every CPU level
/// and for every number of threads.
public final class Optimizer: Sendable {
  /// What it is set to.
  public let configuration: OptimizerConfiguration
  /// Its memory of earlier gradients, each named as in `optimizer.safetensors`:
  /// Adam's mean and square, or the velocity.
  public let moments: [(name: String, buffer: ParameterBuffer)]
  private let list: ParameterList
  private let engine: ComputeEngine
  private let partialSums: Vector<Double>
  private let arena = Arena()

  /// How many elements are worked on at a time; a constant, because the order of the norm's sum hangs on it.
  private static let blockLength = 1 << 16

  /// An optimizer that has not moved yet.
  public init(_ configuration: OptimizerConfiguration, list: ParameterList, engine: ComputeEngine) {
    self.configuration = configuration
    self.list = list
    self.engine = engine
    let names = configuration.kind == .adam ? ["mean", "square"] : ["velocity"]
    moments = names.map { ($0, ParameterBuffer(list)) }
    let blockCount = (list.elementCount + Self.blockLength - 1) / Self.blockLength
    partialSums = arena.vector(of: Double.self, count: blockCount)
  }

  /// The global norm of a gradient, its squares added in double precision and in a fixed order.
  public func norm(of gradient: ParameterBuffer) -> Double {
    let flat = gradient.flat
    let sums = partialSums
    engine.forEachPart(of: sums.count, minimumPartCount: 4) { blocks in
      for block in blocks {
        let start = block * Self.blockLength
        let count = min(Self.blockLength, flat.columnCount - start)
        sums[block] = CKernels_sumOfSquares(flat.data + start, count)
      }
    }
    return (0..<sums.count).reduce(0) { $0 + sums[$1] }.squareRoot()
  }

  /// What a gradient of this norm is multiplied with, so that its norm is at most `clip`.
  public func clippingScale(norm: Double) -> Double {
    configuration.clip > 0 && norm > configuration.clip ? configuration.clip / norm : 1
  }

  /// Moves the parameters once.
  ///
  /// `updateCount` counts the updates made with this one, from 1: Adam corrects its moments' bias by it.
  public func update(
    _ parameters: ParameterBuffer, gradient: ParameterBuffer, gradientScale: Double, learningRate: Double,
    updateCount: Int
  ) {
    for parameter in list.parameters {
      let rate = learningRate * Double(parameter.learningRateScale)
      let decay = parameter.decays ? rate * configuration.weightDecay : 0
      let blockCount = (parameter.count + Self.blockLength - 1) / Self.blockLength
      engine.forEachPart(of: blockCount, minimumPartCount: 1) { blocks in
        let start = parameter.offset + blocks.lowerBound * Self.blockLength
        let end = min(
          parameter.offset + blocks.upperBound * Self.blockLength, parameter.range.upperBound)
        switch configuration.kind {
        case .adam:
          updateByAdam(
            start..<end, parameters, gradient, scale: gradientScale, rate: rate, decay: decay,
            updateCount: updateCount)
        case .sgd:
          CKernels_momentum(
            parameters.flat.data + start, gradient.flat.data + start, moments[0].buffer.flat.data + start,
            end - start, Float(rate), Float(gradientScale), Float(configuration.momentum), Float(decay))
        }
      }
    }
  }

  private func updateByAdam(
    _ range: Range<Int>, _ parameters: ParameterBuffer, _ gradient: ParameterBuffer, scale: Double,
    rate: Double, decay: Double, updateCount: Int
  ) {
    var settings = CKernels_Adam(
      learningRate: Float(rate), gradientScale: Float(scale), decay: Float(decay),
      beta1: Float(configuration.beta1), beta2: Float(configuration.beta2),
      inverseCorrection1: Float(1 / (1 - integerPower(configuration.beta1, updateCount))),
      inverseCorrection2: Float(1 / (1 - integerPower(configuration.beta2, updateCount))),
      epsilon: Float(configuration.epsilon))
    CKernels_adam(
      parameters.flat.data + range.lowerBound, gradient.flat.data + range.lowerBound,
      moments[0].buffer.flat.data + range.lowerBound, moments[1].buffer.flat.data + range.lowerBound,
      range.count, &settings)
  }

  /// By squaring: the same bits everywhere, which a library's `pow` does not promise.
  private func integerPower(_ base: Double, _ exponent: Int) -> Double {
    var result = 1.0
    var factor = base
    var rest = exponent
    while rest > 0 {
      if rest & 1 == 1 { result *= factor }
      factor *= factor
      rest >>= 1
    }
    return result
  }
}
