import Foundation
import Layers
import Tensors

/// Functions of Gaussian processes learnt by latent neural processes.
///
/// Does a decoder that multiplies the latent variable with the place describe held-out functions better than one that reads
/// them side by side?
public struct NeuralProcessStudy: Study {
  /// The name in commands and folders.
  public static let name = "neural-process"
  /// What the study is set to.
  public let configuration: NeuralProcessConfiguration

  /// A study of these settings.
  public init(_ configuration: NeuralProcessConfiguration) { self.configuration = configuration }

  /// One training of one decoder.
  public struct Setting: StudySetting {
    let decoder: DecoderKind
    let seed: Int

    /// The decoder and the seed.
    public var name: String { "\(decoder.rawValue)-seed\(seed)" }
    /// All take about the same time.
    public var cost: Double { 1 }
  }

  /// What a training came to.
  public struct Outcome: Codable, Sendable {
    /// The parameters of the decoder.
    let parameterCount: Int
    /// The log-likelihood of held-out functions, a point, before the first update and after every `evaluateEvery`.
    let logLikelihoods: [Double]
    /// The same under the Gaussian processes that the functions were drawn from: nothing can do better.
    let exactLogLikelihood: Double
    /// Some held-out functions as the trained network sees them.
    let drawings: [FunctionDrawing]
  }

  /// One for every decoder and seed.
  public var settingCount: Int { DecoderKind.allCases.count * configuration.seeds }

  /// All that are not done.
  public func nextSettings(after outcomes: [String: Outcome], processorSeconds: Double) -> [Setting] {
    (0..<configuration.seeds).flatMap { seed in
      DecoderKind.allCases.map { Setting(decoder: $0, seed: seed) }
    }.filter { outcomes[$0.name] == nil }
  }

  /// Trains one network.
  public func run(_ setting: Setting, engine: ComputeEngine) -> Outcome {
    // Functions do not depend on the decoder: all see the same; the held-out ones are the same for all seeds.
    let root = RandomKey(seed: UInt64(configuration.seed))
    let key = root.derived("training").derived(setting.seed)
    let network = NeuralProcess(
      setting.decoder, configuration: configuration, seed: key.derived("weights").bits, engine: engine)
    let heldOut = HeldOutFunctions(configuration: configuration, key: root.derived("held out"))
    let arena = Arena()
    var batch = FunctionBatch(configuration: configuration, in: arena)
    var schedule = Schedule()
    schedule.warmup = min(100, configuration.steps / 10)
    schedule.final = 0
    var logLikelihoods = [heldOut.logLikelihood(under: network)]
    for step in 0..<configuration.steps {
      batch.fill(first: step * configuration.functions, key: key, configuration: configuration)
      let rate = schedule.learningRate(
        step: step, stepCount: configuration.steps, peak: configuration.rate)
      network.update(on: batch, rate: rate, key: key.derived("latents").derived(step))
      if (step + 1) % configuration.evaluateEvery == 0 {
        logLikelihoods.append(heldOut.logLikelihood(under: network))
      }
    }
    return withExtendedLifetime(arena) {
      Outcome(
        parameterCount: network.decoderParameterCount, logLikelihoods: logLikelihoods,
        exactLogLikelihood: heldOut.exactLogLikelihood,
        drawings: setting.seed == 0 ? heldOut.drawings(by: network) : [])
    }
  }
}
