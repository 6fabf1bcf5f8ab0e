import Foundation

/// What a run reports every few steps; the numbers are of the steps since the previous report, unless they
/// say otherwise.
public struct TrainingMetrics: Sendable, Equatable {
  /// Steps taken since the beginning of the run.
  public var step: Int
  /// Tokens read since the beginning of the run, by all ranks.
  public var tokens: Int
  /// How many times the corpus has been read.
  public var epoch: Double
  /// Mean loss in nats a token, over all lanes of all ranks.
  public var loss: Double
  /// e to the power of `loss`.
  public var perplexity: Double
  /// The last step's learning rate.
  public var learningRate: Double
  /// The last step's norm of the mean gradient before clipping.
  public var gradientNorm: Double
  /// Tokens a second, all ranks together.
  public var tokensPerSecond: Double
  /// Seconds of forward and backward pass.
  public var computeSeconds: Double
  /// Seconds the exchange took.
  public var exchangeSeconds: Double
  /// Seconds of the exchange in which nothing was computed.
  public var exposedSeconds: Double
  /// Seconds of it that rank 0 spent coding and compressing.
  public var encodeSeconds: Double
  /// Seconds of it that rank 0 spent sending, receiving and waiting for other ranks.
  public var wireSeconds: Double
  /// Seconds of it that rank 0 spent decompressing, decoding and adding.
  public var decodeSeconds: Double
  /// Seconds in which rank 0 copied its state, or waited for a disk or an evaluation, before it went on.
  public var stalledSeconds: Double
  /// Seconds in which rank 0 wrote a checkpoint in the background.
  public var checkpointSeconds: Double
  /// Seconds in which rank 0 evaluated in the background.
  public var evaluationSeconds: Double
  /// Bytes the exchange would have sent uncompressed.
  public var rawBytes: Int
  /// Bytes the exchange has sent.
  public var wireBytes: Int
  /// The codec's name.
  public var codec: String
  /// Steps the guard has skipped since the beginning of the run.
  public var skippedSteps: Int

  /// A report after `step`.
  public init(
    step: Int, tokens: Int, epoch: Double, loss: Double, perplexity: Double, learningRate: Double,
    gradientNorm: Double, tokensPerSecond: Double, computeSeconds: Double, exchangeSeconds: Double,
    exposedSeconds: Double, encodeSeconds: Double = 0, wireSeconds: Double = 0, decodeSeconds: Double = 0,
    stalledSeconds: Double = 0, checkpointSeconds: Double = 0, evaluationSeconds: Double = 0, rawBytes: Int,
    wireBytes: Int, codec: String, skippedSteps: Int
  ) {
    self.step = step
    self.tokens = tokens
    self.epoch = epoch
    self.loss = loss
    self.perplexity = perplexity
    self.learningRate = learningRate
    self.gradientNorm = gradientNorm
    self.tokensPerSecond = tokensPerSecond
    self.computeSeconds = computeSeconds
    self.exchangeSeconds = exchangeSeconds
    self.exposedSeconds = exposedSeconds
    self.encodeSeconds = encodeSeconds
    self.wireSeconds = wireSeconds
    self.decodeSeconds = decodeSeconds
    self.stalledSeconds = stalledSeconds
    self.checkpointSeconds = checkpointSeconds
    self.evaluationSeconds = evaluationSeconds
    self.rawBytes = rawBytes
    self.wireBytes = wireBytes
    self.codec = codec
    self.skippedSteps = skippedSteps
  }

  /// How many times smaller the exchange became by compression, nothing where nothing was sent.
  public var compressionRatio: Double? {
    wireBytes > 0 ? Double(rawBytes) / Double(wireBytes) : nil
  }

  var fields: [(name: String, value: MetricValue)] {
    [
      ("step", .integer(step)), ("tokens", .integer(tokens)), ("epoch", .rounded(epoch)),
      ("loss", .rounded(loss)), ("perplexity", .rounded(perplexity)),
      ("learningRate", .rounded(learningRate)), ("gradientNorm", .rounded(gradientNorm)),
      ("tokensPerSecond", .rounded(tokensPerSecond)), ("computeSeconds", .rounded(computeSeconds)),
      ("exchangeSeconds", .rounded(exchangeSeconds)), ("exposedSeconds", .rounded(exposedSeconds)),
      ("encodeSeconds", .rounded(encodeSeconds)), ("wireSeconds", .rounded(wireSeconds)),
      ("decodeSeconds", .rounded(decodeSeconds)), ("stalledSeconds", .rounded(stalledSeconds)),
      ("checkpointSeconds", .rounded(checkpointSeconds)),
      ("evaluationSeconds", .rounded(evaluationSeconds)), ("rawBytes", .integer(rawBytes)),
      ("wireBytes", .integer(wireBytes)), ("codec", .text(codec)),
      ("skippedSteps", .integer(skippedSteps)),
    ]
  }
}

/// The result of an evaluation during a run.
public struct EvaluationMetrics: Sendable, Equatable {
  /// The step whose parameters were evaluated.
  public var step: Int
  /// The split of the corpus that was evaluated.
  public var split: String
  /// e to the power of the mean loss.
  public var perplexity: Double
  /// The total loss in nats.
  public var nll: Double
  /// Tokens that were predicted.
  public var tokens: Int
  /// How long it took.
  public var seconds: Double

  /// A result for the parameters after `step`.
  public init(step: Int, split: String, perplexity: Double, nll: Double, tokens: Int, seconds: Double) {
    self.step = step
    self.split = split
    self.perplexity = perplexity
    self.nll = nll
    self.tokens = tokens
    self.seconds = seconds
  }

  var fields: [(name: String, value: MetricValue)] {
    [
      ("step", .integer(step)), ("split", .text(split)), ("perplexity", .exact(perplexity)),
      ("nll", .exact(nll)), ("tokens", .integer(tokens)), ("seconds", .rounded(seconds)),
    ]
  }
}

/// A value of a metrics line, and how many of its digits are worth keeping.
enum MetricValue {
  case integer(Int)
  /// Nine significant digits, which tell any two 32-bit floats apart.
  case rounded(Double)
  /// As many digits as tell any two 64-bit floats apart.
  case exact(Double)
  case text(String)

  /// The value in JSON, which has no number for infinity or for what is none: these are `null`.
  var json: String {
    switch self {
    case .integer(let value): return String(value)
    case .rounded(let value): return value.isFinite ? nineDigits(value) : "null"
    case .exact(let value): return value.isFinite ? value.description : "null"
    case .text(let text): return quoted(text)
    }
  }
}

/// A number to nine significant digits, without trailing zeros.
func nineDigits(_ value: Double) -> String {
  String(format: "%.9g", value)
}

/// A text as a JSON string.
func quoted(_ text: String) -> String {
  var result = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"": result += "\\\""
    case "\\": result += "\\\\"
    case "\u{0}"..<"\u{20}": result += String(format: "\\u%04x", scalar.value)
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result + "\""
}
