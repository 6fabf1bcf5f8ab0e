import Foundation
import Platform
import Reporting
import Synchronization

/// Records what is written to an output, one text per call.
final class Recorder: Sendable {
  private let texts = Mutex<[String]>([])

  var written: [String] { texts.withLock { $0 } }

  func output(isTerminal: Bool, width: Int = 200) -> TerminalOutput {
    TerminalOutput(isTerminal: isTerminal, width: width) { text in
      self.texts.withLock { $0.append(text) }
    }
  }
}

/// A clock that a test advances.
final class ManualTime: Sendable {
  private let passed = Mutex(Duration.zero)

  var clock: ProgressClock { { self.passed.withLock { $0 } } }

  func advance(seconds: Double) {
    passed.withLock { $0 += .seconds(seconds) }
  }
}

func metrics(step: Int, loss: Double = 4.5, table: MetricTable = .training) -> MetricsLine {
  MetricsLine(
    table,
    [
      "step": .integer(step), "tokens": .integer(step * 4096), "epoch": .number(0.25), "loss": .number(loss),
      "perplexity": .number(exp(loss)), "learningRate": .number(1e-3), "gradientNorm": .number(0.125),
      "tokensPerSecond": .number(12_345), "computeSeconds": .number(0.5), "exchangeSeconds": .number(0.25),
      "exposedSeconds": .number(0.0625), "encodeSeconds": .number(0.5), "wireSeconds": .number(0.25),
      "decodeSeconds": .number(0.125), "checkpointSeconds": .number(0.75), "rawBytes": .integer(4000),
      "wireBytes": .integer(1000), "codec": .text("int8"), "skippedSteps": .integer(1),
    ])
}

func evaluation(
  step: Int, perplexity: Double, nll: Double = 1, tokens: Int = 99, seconds: Double = 1
) -> MetricsLine {
  MetricsLine(
    .evaluation,
    [
      "step": .integer(step), "split": .text("valid"), "perplexity": .number(perplexity), "nll": .number(nll),
      "tokens": .integer(tokens), "seconds": .number(seconds),
    ])
}
