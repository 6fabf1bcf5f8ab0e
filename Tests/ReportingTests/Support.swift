import Foundation
import Platform
import Reporting
import Synchronization

/// Keeps what is written to an output, one text a call.
final class Recorder: Sendable {
  private let texts = Mutex<[String]>([])

  var written: [String] { texts.withLock { $0 } }

  func output(isTerminal: Bool, width: Int = 200) -> TerminalOutput {
    TerminalOutput(isTerminal: isTerminal, width: width) { text in
      self.texts.withLock { $0.append(text) }
    }
  }
}

/// Time that passes only when told to.
final class ManualTime: Sendable {
  private let passed = Mutex(Duration.zero)

  var clock: ProgressClock { { self.passed.withLock { $0 } } }

  func advance(seconds: Double) {
    passed.withLock { $0 += .seconds(seconds) }
  }
}

func metrics(step: Int, loss: Double = 4.5) -> TrainingMetrics {
  TrainingMetrics(
    step: step, tokens: step * 4096, epoch: 0.25, loss: loss, perplexity: exp(loss), learningRate: 1e-3,
    gradientNorm: 0.125, tokensPerSecond: 12_345, computeSeconds: 0.5, exchangeSeconds: 0.25,
    exposedSeconds: 0.0625, encodeSeconds: 0.5, wireSeconds: 0.25, decodeSeconds: 0.125,
    checkpointSeconds: 0.75, rawBytes: 4000,
    wireBytes: 1000, codec: "int8", skippedSteps: 1)
}
