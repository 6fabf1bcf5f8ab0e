import Foundation

/// What a run has reported, in as many points as a picture can show, however long the run is.
struct RunHistory {
  /// The most points that are kept of training, and of evaluations.
  static let pointLimit = 480

  /// Training, in the order of steps.
  private(set) var points: [HistoryPoint] = []
  /// Evaluations of the validation split, in the order of steps.
  private(set) var evaluations: [EvaluationMetrics] = []
  /// The evaluation of the lowest perplexity.
  private(set) var best: EvaluationMetrics?
  /// The last report.
  private(set) var latest: TrainingMetrics?
  /// All of training as one point.
  private(set) var whole: HistoryPoint?
  /// The processes that trained, as far as what they did still counts.
  private(set) var sessions: [RunSession] = []
  /// Where the last report or session was.
  private var position = (step: 0, tokens: 0)
  private var linesPerPoint = 1

  /// Takes in that a process begins; what others did beyond its step no longer counts.
  mutating func begin(_ session: RunSession) {
    sessions.removeAll { $0.step > session.step }
    sessions.append(session)
    position = (session.step, session.tokens)
  }

  /// Takes in a report, which covers the steps since the last one.
  mutating func add(_ metrics: TrainingMetrics) {
    let point = HistoryPoint(
      metrics, stepCount: max(metrics.step - position.step, 1),
      tokenCount: max(metrics.tokens - position.tokens, 0))
    position = (metrics.step, metrics.tokens)
    latest = metrics
    whole = whole.map { $0.merged(with: point) } ?? point
    if let last = points.last, last.lineCount < linesPerPoint {
      points[points.count - 1] = last.merged(with: point)
    } else {
      points.append(point)
    }
    guard points.count > Self.pointLimit else { return }
    linesPerPoint *= 2
    points = stride(from: 0, to: points.count, by: 2).map { index in
      index + 1 < points.count ? points[index].merged(with: points[index + 1]) : points[index]
    }
  }

  /// Takes in the result of an evaluation.
  mutating func add(_ metrics: EvaluationMetrics) {
    guard metrics.perplexity.isFinite else { return }
    if metrics.perplexity < best?.perplexity ?? .infinity { best = metrics }
    evaluations.append(metrics)
    guard evaluations.count > Self.pointLimit else { return }
    evaluations = stride(from: evaluations.count % 2 == 0 ? 1 : 0, to: evaluations.count, by: 2).map {
      evaluations[$0]
    }
  }
}

/// Some steps of a run together.
struct HistoryPoint {
  /// The lowest, mean and highest of a figure, where it is a number.
  struct Extent {
    var low: Double
    var high: Double
    private var sum: Double
    private var weight: Double

    init(_ value: Double, weight: Int) {
      let isNumber = value.isFinite
      low = isNumber ? value : .infinity
      high = isNumber ? value : -.infinity
      sum = isNumber ? value * Double(weight) : 0
      self.weight = isNumber ? Double(weight) : 0
    }

    /// The mean over the steps; nil where no value was a number.
    var mean: Double? { weight > 0 ? sum / weight : nil }

    func merged(with other: Extent) -> Extent {
      var both = self
      both.low = min(low, other.low)
      both.high = max(high, other.high)
      both.sum += other.sum
      both.weight += other.weight
      return both
    }
  }

  /// The last of the steps.
  let step: Int
  /// How many reports these steps had.
  let lineCount: Int
  let stepCount: Int
  let tokenCount: Int
  /// Seconds from the first step's beginning to the last one's end.
  let seconds: Double
  let loss: Extent
  let gradientNorm: Extent
  /// The last step's.
  let learningRate: Double
  let computeSeconds: Double
  let exchangeSeconds: Double
  let exposedSeconds: Double
  let rawByteCount: Int
  let wireByteCount: Int

  /// The steps of one report.
  init(_ metrics: TrainingMetrics, stepCount: Int, tokenCount: Int) {
    step = metrics.step
    lineCount = 1
    self.stepCount = stepCount
    self.tokenCount = tokenCount
    let isTimed = metrics.tokensPerSecond > 0 && metrics.tokensPerSecond.isFinite
    seconds = isTimed ? Double(tokenCount) / metrics.tokensPerSecond : 0
    loss = Extent(metrics.loss, weight: stepCount)
    gradientNorm = Extent(metrics.gradientNorm, weight: stepCount)
    learningRate = metrics.learningRate
    computeSeconds = metrics.computeSeconds
    exchangeSeconds = metrics.exchangeSeconds
    exposedSeconds = metrics.exposedSeconds
    rawByteCount = metrics.rawBytes
    wireByteCount = metrics.wireBytes
  }

  private init(_ first: HistoryPoint, _ second: HistoryPoint) {
    step = second.step
    lineCount = first.lineCount + second.lineCount
    stepCount = first.stepCount + second.stepCount
    tokenCount = first.tokenCount + second.tokenCount
    seconds = first.seconds + second.seconds
    loss = first.loss.merged(with: second.loss)
    gradientNorm = first.gradientNorm.merged(with: second.gradientNorm)
    learningRate = second.learningRate
    computeSeconds = first.computeSeconds + second.computeSeconds
    exchangeSeconds = first.exchangeSeconds + second.exchangeSeconds
    exposedSeconds = first.exposedSeconds + second.exposedSeconds
    rawByteCount = first.rawByteCount + second.rawByteCount
    wireByteCount = first.wireByteCount + second.wireByteCount
  }

  /// These steps and those that follow them.
  func merged(with next: HistoryPoint) -> HistoryPoint { HistoryPoint(self, next) }

  /// Tokens a second; nil where nothing is known of the time.
  var tokensPerSecond: Double? { seconds > 0 ? Double(tokenCount) / seconds : nil }
}
