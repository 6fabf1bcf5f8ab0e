import Layers
import Tensors

/// Functions of Gaussian processes learned by latent neural processes.
///
/// Does a decoder that multiplies the latent variable with the place predict held-out functions better than one that
/// concatenates them?
package struct NeuralProcessStudy: Study {
  package static let name = "neural-process"
  package let configuration: NeuralProcessConfiguration

  package init(_ configuration: NeuralProcessConfiguration) { self.configuration = configuration }

  /// One training of one decoder.
  package struct Setting: StudySetting {
    let decoder: DecoderKind
    let seed: Int

    package var name: String { "\(decoder.rawValue)-seed\(seed)" }
    package var cost: Double { 1 }
  }

  package struct Outcome: Codable, Sendable {
    /// Of the decoder.
    let parameterCount: Int
    /// The log-likelihood per point of held-out functions before the first step and after every `evaluateEvery`.
    let logLikelihoods: [Double]
    /// The same under the Gaussian processes that the functions were drawn from: an upper bound.
    let exactLogLikelihood: Double
    /// Predictions of the trained network for some held-out functions.
    let drawings: [FunctionDrawing]
  }

  package var settingCount: Int { DecoderKind.allCases.count * configuration.seeds }

  package func nextSettings(after outcomes: [String: Outcome], processorSeconds: Double) -> [Setting] {
    (0..<configuration.seeds).flatMap { seed in
      DecoderKind.allCases.map { Setting(decoder: $0, seed: seed) }
    }.filter { outcomes[$0.name] == nil }
  }

  package func run(_ setting: Setting, engine: ComputeEngine) -> Outcome {
    // Functions do not depend on the decoder; the held-out ones do not depend on the seed either.
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

package struct NeuralProcessConfiguration: StudyConfiguration {
  package var seed = 1
  /// The number of seeds per decoder.
  package var seeds = 5
  package var steps = 4000
  /// Functions per step.
  package var functions = 16
  /// Points per function.
  package var points = 60
  /// The minimum number of context points.
  package var leastContext = 3
  /// The maximum number of context points.
  package var mostContext = 50
  /// The width of the latent variable.
  package var latentWidth = 16
  /// The width of the hidden layers of the encoder and the MLP decoder.
  package var hiddenWidth = 64
  /// The peak learning rate of a cosine schedule.
  package var rate = 0.001
  /// Steps between evaluations on held-out functions.
  package var evaluateEvery = 400
  /// Held-out functions.
  package var testFunctions = 256
  /// Draws of the latent variable per function in an evaluation.
  package var samples = 32

  package init() {}

  package var defect: String? {
    let counts = [
      seeds, steps, functions, leastContext, latentWidth, hiddenWidth, evaluateEvery, testFunctions, samples,
    ]
    if let wrong = counts.first(where: { $0 < 1 }) { return "expected counts of at least 1, found \(wrong)" }
    if leastContext > mostContext || mostContext >= points {
      return "expected leastContext ≤ mostContext < points, found \(leastContext), \(mostContext), \(points)"
    }
    if testFunctions % functions != 0 {
      return "expected testFunctions that functions divides, found \(testFunctions) and \(functions)"
    }
    if !(rate > 0) { return "expected a positive rate, found \(rate)" }
    return nil
  }
}
