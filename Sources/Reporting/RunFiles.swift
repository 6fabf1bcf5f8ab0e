import Foundation
import Platform

/// Where the files of a run are that people and their tools look at.
public struct RunFiles: Sendable {
  /// One line of JSON a report.
  public let metrics: String
  /// One line of JSON a process that trained.
  public let sessions: String
  /// The folder that TensorBoard opens.
  public let events: String
  /// The page with curves and summary.
  public let page: String

  /// Files at these paths.
  public init(metrics: String, sessions: String, events: String, page: String) {
    self.metrics = metrics
    self.sessions = sessions
    self.events = events
    self.page = page
  }
}

extension RunFiles {
  /// What the run has reported so far, from its files; a line that cannot be read is left out.
  func history() throws -> RunHistory {
    var history = RunHistory()
    var sessions: [RunSession] = []
    for session in try lines(of: self.sessions, as: RunSession.self) {
      sessions.removeAll { $0.step > session.step }
      sessions.append(session)
    }
    for line in try lines(of: metrics, as: MetricsLine.self) {
      if let evaluation = line.evaluation { history.add(evaluation) }
      guard let training = line.training else { continue }
      while let session = sessions.first, session.step < training.step {
        history.begin(session)
        sessions.removeFirst()
      }
      history.add(training)
    }
    for session in sessions { history.begin(session) }
    return history
  }
}

/// The whole lines of a file that can be read as what they should be; none where there is no file.
func lines<Line: Decodable>(of path: String, as _: Line.Type) throws -> [Line] {
  let content = Data(try regularFileContent(path) ?? [])
  let decoder = JSONDecoder()
  return content.split(separator: UInt8(ascii: "\n")).compactMap { try? decoder.decode(Line.self, from: $0) }
}

/// A line of `metrics.jsonl`, of either kind; what is no number there is missing here.
struct MetricsLine: Decodable {
  private let step: Int
  private let split: String?
  private let perplexity: Double?
  private let tokens: Int?
  private let nll: Double?
  private let seconds: Double?
  private let epoch: Double?
  private let loss: Double?
  private let learningRate: Double?
  private let gradientNorm: Double?
  private let tokensPerSecond: Double?
  private let computeSeconds: Double?
  private let exchangeSeconds: Double?
  private let exposedSeconds: Double?
  private let encodeSeconds: Double?
  private let wireSeconds: Double?
  private let decodeSeconds: Double?
  private let stalledSeconds: Double?
  private let checkpointSeconds: Double?
  private let evaluationSeconds: Double?
  private let rawBytes: Int?
  private let wireBytes: Int?
  private let codec: String?
  private let skippedSteps: Int?

  /// The result of an evaluation, where the line is one.
  var evaluation: EvaluationMetrics? {
    split.map {
      EvaluationMetrics(
        step: step, split: $0, perplexity: perplexity ?? .nan, nll: nll ?? .nan, tokens: tokens ?? 0,
        seconds: seconds ?? 0)
    }
  }

  /// The report of training, where the line is one.
  var training: TrainingMetrics? {
    guard split == nil else { return nil }
    return TrainingMetrics(
      step: step, tokens: tokens ?? 0, epoch: epoch ?? 0, loss: loss ?? .nan, perplexity: perplexity ?? .nan,
      learningRate: learningRate ?? .nan, gradientNorm: gradientNorm ?? .nan,
      tokensPerSecond: tokensPerSecond ?? .nan, computeSeconds: computeSeconds ?? 0,
      exchangeSeconds: exchangeSeconds ?? 0, exposedSeconds: exposedSeconds ?? 0,
      encodeSeconds: encodeSeconds ?? 0, wireSeconds: wireSeconds ?? 0, decodeSeconds: decodeSeconds ?? 0,
      stalledSeconds: stalledSeconds ?? 0, checkpointSeconds: checkpointSeconds ?? 0,
      evaluationSeconds: evaluationSeconds ?? 0, rawBytes: rawBytes ?? 0, wireBytes: wireBytes ?? 0,
      codec: codec ?? "", skippedSteps: skippedSteps ?? 0)
  }
}
