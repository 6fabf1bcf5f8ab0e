import Foundation

/// History of a run in a bounded number of points, however long the run is.
struct RunHistory {
  /// The maximum number of points of training, and of evaluations.
  static let pointLimit = 480

  /// Training, in the order of steps.
  private(set) var points: [HistoryPoint] = []
  /// Evaluations of the validation split, in the order of steps.
  private(set) var evaluations: [MetricsLine] = []
  /// The evaluation of the lowest perplexity on the validation split that the run has now.
  private(set) var best: MetricsLine?
  /// The last report of training.
  private(set) var latest: MetricsLine?
  /// All of training as one point.
  private(set) var whole: HistoryPoint?
  /// The processes that trained, without those whose steps were discarded.
  private(set) var sessions: [RunSession] = []
  /// Of the last report or session.
  private var position = (step: 0, tokens: 0)
  private var linesPerPoint = 1

  /// Whether a process began before a line was written, that follows what has been added.
  ///
  /// Where it has another validation split, it repeats the evaluation of its first step.
  func precedes(_ session: RunSession, _ line: MetricsLine) -> Bool {
    session.step < line.step
      || session.step == line.step && line.split != nil && hasOtherValidation(session)
  }

  private func hasOtherValidation(_ session: RunSession) -> Bool {
    guard let current = sessions.last(where: { $0.validation != nil })?.validation,
      let next = session.validation
    else { return false }
    return next != current
  }

  /// Adds a process; sessions that began beyond its step are discarded.
  ///
  /// Another validation split starts a new best.
  mutating func begin(_ session: RunSession) {
    if hasOtherValidation(session) { best = nil }
    sessions.removeAll { $0.step > session.step }
    sessions.append(session)
    position = (session.step, session.tokens)
  }

  /// Adds a report of training, which covers the steps since the previous one, or the result of an evaluation.
  mutating func add(_ line: MetricsLine) {
    if line.split == nil { addTraining(line) } else { addEvaluation(line) }
  }

  private mutating func addTraining(_ line: MetricsLine) {
    let point = HistoryPoint(
      line, stepCount: max(line.step - position.step, 1), tokenCount: max(line.tokens - position.tokens, 0))
    position = (line.step, line.tokens)
    latest = line
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

  private mutating func addEvaluation(_ line: MetricsLine) {
    guard line.perplexity.isFinite else { return }
    if line.perplexity < best?.perplexity ?? .infinity { best = line }
    evaluations.append(line)
    guard evaluations.count > Self.pointLimit else { return }
    evaluations = stride(from: evaluations.count % 2 == 0 ? 1 : 0, to: evaluations.count, by: 2).map {
      evaluations[$0]
    }
  }
}

/// Consecutive reports of a run together.
struct HistoryPoint {
  /// A metric over these reports; values that are not finite are left out.
  struct Summary {
    private(set) var low = Double.infinity
    private(set) var high = -Double.infinity
    private(set) var last: Double?
    private(set) var sum = 0.0
    private var weightedSum = 0.0
    private var weight = 0.0

    init(_ value: Double, weight: Int) {
      guard value.isFinite else { return }
      low = value
      high = value
      last = value
      sum = value
      weightedSum = value * Double(weight)
      self.weight = Double(weight)
    }

    /// The mean over the steps.
    var mean: Double? { weight > 0 ? weightedSum / weight : nil }

    mutating func merge(_ next: Summary) {
      low = min(low, next.low)
      high = max(high, next.high)
      last = next.last ?? last
      sum += next.sum
      weightedSum += next.weightedSum
      weight += next.weight
    }
  }

  /// The last step.
  private(set) var step: Int
  private(set) var lineCount = 1
  private(set) var stepCount: Int
  private(set) var tokenCount: Int
  /// From the beginning of the first step to the end of the last.
  private(set) var seconds: Double
  /// In seconds, three hundred years.
  private static let longestReport = 1e10
  private let table: MetricTable
  /// In the order of the table.
  private var summaries: [Summary]

  /// The steps of one report.
  init(_ line: MetricsLine, stepCount: Int, tokenCount: Int) {
    step = line.step
    self.stepCount = stepCount
    self.tokenCount = tokenCount
    let tokensPerSecond = line.number("tokensPerSecond")
    // A number of a file: a rate near zero must not make the time infinite.
    seconds =
      tokensPerSecond > 0 && tokensPerSecond.isFinite
      ? min(Double(tokenCount) / tokensPerSecond, Self.longestReport) : 0
    table = line.table
    summaries = line.numbers.map { Summary($0, weight: stepCount) }
  }

  /// These steps and the following ones.
  func merged(with next: HistoryPoint) -> HistoryPoint {
    var both = self
    both.step = next.step
    both.lineCount += next.lineCount
    both.stepCount = Int(clamping: Double(stepCount) + Double(next.stepCount))
    both.tokenCount = Int(clamping: Double(tokenCount) + Double(next.tokenCount))
    both.seconds += next.seconds
    for index in summaries.indices { both.summaries[index].merge(next.summaries[index]) }
    return both
  }

  subscript(key: String) -> Summary {
    guard let index = table.index(of: key) else {
      preconditionFailure("expected a key of the table, found \(key)")
    }
    return summaries[index]
  }

  /// Nil where the time is unknown.
  var tokensPerSecond: Double? { seconds > 0 ? Double(tokenCount) / seconds : nil }
  var computeSeconds: Double { self["computeSeconds"].sum }
  var exchangeSeconds: Double { self["exchangeSeconds"].sum }
  var exposedSeconds: Double { self["exposedSeconds"].sum }
  var rawByteCount: Int { Int(clamping: self["rawBytes"].sum) }
  var wireByteCount: Int { Int(clamping: self["wireBytes"].sum) }

  /// Where the seconds went, as fractions.
  var timeFractions: (compute: Double, exposed: Double, rest: Double) {
    let seconds = max(seconds, computeSeconds + exposedSeconds)
    let (compute, exposed) = (computeSeconds / seconds, exposedSeconds / seconds)
    return (compute, exposed, 1 - compute - exposed)
  }
}

extension Int {
  /// The nearest integer that can be represented; 0 for what is not a number.
  fileprivate init(clamping value: Double) {
    self = Int(exactly: value.rounded()) ?? (value > 0 ? .max : value < 0 ? .min : 0)
  }
}
