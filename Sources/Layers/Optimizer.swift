import CKernels
import Tensors

/// The hyperparameters of an optimizer.
package struct OptimizerConfiguration: Sendable, Equatable {
  /// The rule of the update.
  package enum Kind: String, CaseIterable, Sendable, Codable {
    /// Adam (Kingma & Ba 2015).
    case adam
    /// Gradient descent with momentum.
    case sgd

    /// The names of its moments: Adam's mean and mean square, or the velocity.
    var momentNames: [String] {
      switch self {
      case .adam: ["mean", "square"]
      case .sgd: ["velocity"]
      }
    }

    /// The bytes that a checkpoint holds per parameter: the parameter and its moments.
    package var checkpointByteCountPerParameter: Int {
      MemoryLayout<Float>.stride * (1 + momentNames.count)
    }
  }

  /// The rule of the update.
  package var kind = Kind.adam
  /// The peak learning rate of the schedule.
  package var learningRate = 1.0e-3
  /// Adam's β₁, the decay rate of the mean.
  package var beta1 = 0.9
  /// Adam's β₂, the decay rate of the mean square.
  package var beta2 = 0.999
  /// Adam's ε, added to the root of the mean square.
  package var epsilon = 1.0e-8
  /// The momentum of gradient descent.
  package var momentum = 0.9
  /// The decoupled decay per step, times the rate; not applied to biases or the embedding.
  package var weightDecay = 0.0
  /// The maximum global norm of a gradient; larger ones are scaled down to it (0: no clipping).
  package var clip = 0.25

  /// The defaults.
  package init() {}
}

/// Updates the parameters by a gradient, with the same bits on every CPU level and for every number of threads.
package final class Optimizer: Sendable {
  /// The hyperparameters.
  package let configuration: OptimizerConfiguration
  /// The optimizer state, each buffer named as in `optimizer.safetensors`.
  package let moments: [(name: String, buffer: ParameterBuffer)]
  private let engine: ComputeEngine
  private let commonBlocks: [Range<Int>]
  private let ownedBlocks: [Range<Int>]
  private let tensors: [(parameter: Parameter, blocks: [Range<Int>])]
  private let partialSums: Vector<Double>
  private let arena: Arena

  /// The number of elements per block; a constant, because the norm's summation order depends on it.
  private static let blockLength = 1 << 16

  /// An optimizer before the first update, of the elements of a shard (default: all).
  package init(
    _ configuration: OptimizerConfiguration, list: ParameterList, shard: ParameterShard? = nil,
    engine: ComputeEngine, in arena: Arena = Arena()
  ) {
    self.arena = arena
    self.configuration = configuration
    self.engine = engine
    moments = configuration.kind.momentNames.map { ($0, ParameterBuffer(list, in: arena)) }
    let shard = shard ?? ParameterShard(all: list)
    commonBlocks = Self.blocks(of: shard.common)
    ownedBlocks = shard.owned.flatMap(Self.blocks(of:))
    tensors = list.parameters.map { ($0, shard.ranges(of: $0).flatMap(Self.blocks(of:))) }
    partialSums = arena.vector(of: Double.self, count: max(commonBlocks.count, ownedBlocks.count))
  }

  private static func blocks(of range: Range<Int>) -> [Range<Int>] {
    stride(from: range.lowerBound, to: range.upperBound, by: blockLength).map {
      $0..<min($0 + blockLength, range.upperBound)
    }
  }

  /// The sums of a gradient's squares, in double precision and in a fixed order: of the elements common to all ranks, and of
  /// this rank's own.
  package func squares(of gradient: ParameterBuffer) -> (common: Double, owned: Double) {
    (squares(of: gradient, commonBlocks), squares(of: gradient, ownedBlocks))
  }

  private func squares(of gradient: ParameterBuffer, _ blocks: [Range<Int>]) -> Double {
    let sums = partialSums
    engine.forEachPart(of: blocks.count, minimumPartCount: 4) { part in
      for index in part {
        sums[index] = CKernels_sumOfSquares(
          gradient.flat.data + blocks[index].lowerBound, blocks[index].count)
      }
    }
    return blocks.indices.reduce(0) { $0 + sums[$1] }
  }

  /// The global norm of a gradient that is not distributed over ranks.
  package func norm(of gradient: ParameterBuffer) -> Double {
    let (common, owned) = squares(of: gradient)
    return (common + owned).squareRoot()
  }

  /// The factor that reduces a gradient of this norm to at most `clip`.
  package func clippingScale(norm: Double) -> Double {
    configuration.clip > 0 && norm > configuration.clip ? configuration.clip / norm : 1
  }

  /// Updates the parameters once.
  ///
  /// `updateCount` is the number of this update, from 1, for Adam's bias correction.
  package func update(
    _ parameters: ParameterBuffer, gradient: ParameterBuffer, gradientScale: Double, learningRate: Double,
    updateCount: Int
  ) {
    for (parameter, blocks) in tensors {
      let rate = learningRate * Double(parameter.learningRateScale)
      let decay = parameter.decays ? rate * configuration.weightDecay : 0
      engine.forEachPart(of: blocks.count, minimumPartCount: 1) { part in
        for block in blocks[part] {
          switch configuration.kind {
          case .adam:
            updateByAdam(
              block, parameters, gradient, scale: gradientScale, rate: rate, decay: decay,
              updateCount: updateCount)
          case .sgd:
            let start = block.lowerBound
            CKernels_momentum(
              parameters.flat.data + start, gradient.flat.data + start, moments[0].buffer.flat.data + start,
              block.count, Float(rate), Float(gradientScale), Float(configuration.momentum), Float(decay))
          }
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

  /// By squaring: the same bits everywhere, which a library's `pow` does not guarantee.
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
