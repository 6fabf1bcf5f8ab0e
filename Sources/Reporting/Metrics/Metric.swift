/// One metric: its key in `metrics.jsonl`, how the steps of a line combine, and where it is shown.
package struct Metric: Sendable, Equatable {
  /// Type of a value and the number of digits written.
  package enum Kind: Sendable {
    case integer
    /// Nine significant digits, which distinguish any two 32-bit floats.
    case number
    /// As many digits as distinguish any two 64-bit floats.
    case exactNumber
    case text
  }

  /// How the values added since the previous line become one.
  package enum Combination: Sendable, Equatable {
    /// The last value.
    case last
    /// The sum of the values.
    case sum
    /// The sum of the values over the sum of their weights; a value that is not finite is left out with its weight.
    case mean
    /// e to the power of another metric's combined value.
    case exponential(of: String)
  }

  /// How the progress line of a pipe or a log prints a value.
  package enum Format: Sendable, Equatable {
    /// As in `metrics.jsonl`.
    case plain
    /// With a fixed number of decimals.
    case decimals(Int)
  }

  /// A chart of the report page that shows this metric alone.
  package struct Chart: Sendable, Equatable {
    let title: String
    /// The unit, or what else the title needs.
    let subtitle: String
    /// The name of a value under the pointer.
    let reading: String

    package init(_ title: String, _ subtitle: String, reading: String) {
      self.title = title
      self.subtitle = subtitle
      self.reading = reading
    }
  }

  package let key: String
  package let kind: Kind
  package let combination: Combination
  /// The group of TensorBoard's tag `group/key`, or of an evaluation `split/key`; nil: not shown there.
  package let group: String?
  /// How the progress line of a pipe or a log prints it; nil: not shown there.
  package let progress: Format?
  /// Its own chart on the page; nil: not shown there, or drawn by `RunCharts` together with others.
  package let chart: Chart?

  package init(
    _ key: String, _ kind: Kind, _ combination: Combination, group: String? = nil, progress: Format? = nil,
    chart: Chart? = nil
  ) {
    self.key = key
    self.kind = kind
    self.combination = combination
    self.group = group
    self.progress = progress
    self.chart = chart
  }
}

/// The metrics of a kind of line, in the order of its keys in `metrics.jsonl`.
///
/// Everything that handles metrics reads this table: accumulation over steps, the JSON line and its parser, TensorBoard,
/// the progress line and the report page. Adding a metric takes a row here and a value where it is measured.
package struct MetricTable: Sendable, Equatable {
  package let metrics: [Metric]
  private let indices: [String: Int]
  /// The bytes before each value in a line of JSON.
  let openings: [[UInt8]]

  /// A table of metrics with unique keys.
  package init(_ metrics: [Metric]) {
    self.metrics = metrics
    openings = metrics.enumerated().map { Array("\($0 == 0 ? "{" : ",")\"\($1.key)\":".utf8) }
    indices = Dictionary(uniqueKeysWithValues: metrics.enumerated().map { ($1.key, $0) })
  }

  func index(of key: String) -> Int? { indices[key] }

  /// Reports of training: what happened in the steps since the previous line.
  package static let training = MetricTable([
    // Steps taken and tokens read by all ranks since the beginning of the run; passes over the corpus.
    Metric("step", .integer, .last, progress: .plain),
    Metric("tokens", .integer, .last),
    Metric("epoch", .number, .last, progress: .plain),
    // Nats per token over all lanes of all ranks.
    Metric("loss", .number, .mean, group: "training", progress: .plain),
    Metric("perplexity", .number, .exponential(of: "loss"), group: "training", progress: .plain),
    Metric("learningRate", .number, .last, group: "training", progress: .plain),
    // The norm of the mean gradient before clipping.
    Metric(
      "gradientNorm", .number, .last, group: "training", progress: .plain,
      chart: .init("Gradient norm", "before clipping", reading: "norm")),
    // All ranks together, over wall-clock time.
    Metric("tokensPerSecond", .number, .mean, group: "speed", progress: .decimals(0)),
    // Forward and backward passes on rank 0; its exchange; the part of it in which nothing was computed.
    Metric("computeSeconds", .number, .sum, group: "speed"),
    Metric("exchangeSeconds", .number, .sum, group: "exchange"),
    Metric("exposedSeconds", .number, .sum, group: "exchange", progress: .decimals(3)),
    // Of the exchange on rank 0: encoding and compressing; sending, receiving and waiting; decompressing and decoding.
    Metric("encodeSeconds", .number, .sum),
    Metric("wireSeconds", .number, .sum),
    Metric("decodeSeconds", .number, .sum),
    // Rank 0 waiting between steps for a snapshot, a disk or an evaluation.
    Metric("stalledSeconds", .number, .sum),
    // In the background on rank 0.
    Metric("checkpointSeconds", .number, .sum),
    Metric("evaluationSeconds", .number, .sum),
    // What rank 0's exchange would have sent as fp32, and what it sent.
    Metric("rawBytes", .integer, .sum, group: "exchange"),
    Metric("wireBytes", .integer, .sum, group: "exchange"),
    Metric("codec", .text, .last, progress: .plain),
    // Steps skipped by the guard since the beginning of the run.
    Metric("skippedSteps", .integer, .last, group: "training", progress: .plain),
  ])

  /// Evaluations during a run.
  package static let evaluation = MetricTable([
    Metric("step", .integer, .last),
    Metric("split", .text, .last),
    Metric("perplexity", .exactNumber, .last, group: "evaluation"),
    // The total loss in nats.
    Metric("nll", .exactNumber, .last),
    Metric("tokens", .integer, .last),
    Metric("seconds", .number, .last),
  ])
}
