import Checkpoints
import Communication
import Corpus
import Foundation
import LanguageModel
import Layers
import Platform
import Reporting
import Tensors
import Training

/// The all-reduce of a configuration's real gradients with every codec, in one run on all ranks.
package struct ExchangeBenchmark {
  /// Costs per step of one codec on rank 0, of the fastest step.
  package struct Row: Sendable, Encodable {
    /// The codec's name, or `MPI_Allreduce`.
    package let codec: String
    /// Compression ratio against fp32.
    package let ratio: Double
    /// Bytes rank 0 sent.
    package let wireBytes: Int
    /// Bytes of fp32 per second that one core encodes while nothing else is computed.
    package let encodeGigabytesPerSecond: Double
    /// Bytes of fp32 per second that one core decodes while nothing else is computed.
    package let decodeGigabytesPerSecond: Double
    /// Seconds of the communication thread, working or waiting.
    package let seconds: Double
    /// Seconds of encoding in the fastest step.
    package let encodeSeconds: Double
    /// Seconds of sending, receiving and waiting.
    package let wireSeconds: Double
    /// Seconds of decoding and adding.
    package let decodeSeconds: Double
    /// Exposed communication time in seconds.
    package let exposedSeconds: Double
    /// Seconds of the step without the update.
    package let stepSeconds: Double
    /// √(Σ error² ÷ Σ value²) of one quantization, over the samples of all ranges.
    package let relativeError: Double
  }

  /// All measurements.
  package struct Result: Sendable, Encodable {
    /// Ranks of the job.
    package let ranks: Int
    /// Nodes, after `exchange.ranksPerNode`.
    package let nodes: Int
    /// Compute threads per rank.
    package let threads: Int
    /// Parameters of the model.
    package let parameters: Int
    /// Tokens per step, over all ranks.
    package let tokensPerStep: Int
    /// Seconds of forward and backward pass without an exchange.
    package let computeSeconds: Double
    /// Latency in microseconds; nil for one node.
    package let linkLatencyMicroseconds: Double?
    /// MB/s in each direction; nil for one node.
    package let linkMegabytesPerSecond: Double?
    /// A row for each codec, and one for `MPI_Allreduce` under MPI.
    package let rows: [Row]
  }

  private let benchmark: Benchmark
  private let configuration: RunConfiguration
  private let ranks: Ranks
  private let stepCount: Int
  private let warmupStepCount: Int

  /// A benchmark that trains `warmupStepCount` steps, then times `stepCount` with each codec.
  package init(
    _ benchmark: Benchmark, stepCount: Int, warmupStepCount: Int
  ) {
    self.benchmark = benchmark
    configuration = benchmark.configuration
    ranks = benchmark.ranks
    self.stepCount = stepCount
    self.warmupStepCount = warmupStepCount
  }

  /// Runs it on all ranks; the result of rank 0 counts.
  ///
  /// If it `isResumed` it starts from `checkpoint`, which rank 0 alone has.
  package func run(from checkpoint: Checkpoint?, isResumed: Bool) throws -> Result {
    let engine = try configuration.training.engine(ranks)
    try benchmark.checkMemory(configuration)
    // Generated tokens last for some steps, then repeat.
    let drawnStepCount = 16
    let (text, data) = try ranks.onAllRanks("open the text") {
      let text = try benchmark.text(
        tokenCount: self.configuration.tokensPerStep * drawnStepCount + self.configuration.training.lanes)
      let data = try TrainingData(
        text.tokens, endOfSentenceID: text.endOfSentenceID, configuration: benchmark.configuration,
        ranks: ranks)
      return (text, data)
    }
    var configuration = configuration
    // Each codec is chosen in turn below.
    configuration.exchange.codec = Codec.uncompressed
    let state = try TrainingState(
      configuration, text: text.identity, ranks: ranks, engine: engine,
      thread: try CommunicationThread())
    if isResumed { try state.restore(from: checkpoint) }
    let timer = StepTimer(state, data: data)
    state.choose(.lossless)
    for _ in 0..<warmupStepCount { _ = try timer.update() }
    let link = try state.exchange.measureLink()
    let computeSeconds = try (0..<stepCount).map { _ in try timer.compute() }.min() ?? 0
    let uncontended = try state.exchange.measure(Codec.allCases, on: state.common(timer.gradients))
    var rows: [Row] = []
    for codec in Codec.allCases {
      state.choose(codec)
      let steps = try (0..<stepCount).map { _ in try timer.exchange() }
      rows.append(row(codec, steps, uncontended.first { $0.codec == codec }))
    }
    if let row = try allReduceRow(state, timer, computeSeconds) { rows.append(row) }
    return Result(
      ranks: ranks.rankCount, nodes: state.exchange.layout.nodeCount, threads: engine.threadCount,
      parameters: state.model.parameters.parameterCount, tokensPerStep: configuration.tokensPerStep,
      computeSeconds: computeSeconds, linkLatencyMicroseconds: link.map { $0.latencySeconds * 1e6 },
      linkMegabytesPerSecond: link.map { $0.bytesPerSecond / 1e6 }, rows: rows)
  }

  /// `uncontended` is the codec's measurement while the cores compute nothing else.
  private func row(_ codec: Codec, _ steps: [StepTimer.Timing], _ uncontended: CodecMeasurement?) -> Row {
    let best = steps.min { $0.seconds < $1.seconds } ?? steps[0]
    let report = best.report
    func perSecond(_ seconds: Double?) -> Double { seconds.map { $0 > 0 ? 4e-9 / $0 : 0 } ?? 0 }
    return Row(
      codec: codec.rawValue,
      ratio: report.wireByteCount > 0 ? Double(report.rawByteCount) / Double(report.wireByteCount) : 1,
      wireBytes: report.wireByteCount,
      encodeGigabytesPerSecond: perSecond(uncontended?.encodeSeconds),
      decodeGigabytesPerSecond: perSecond(uncontended?.decodeSeconds),
      seconds: report.totalSeconds, encodeSeconds: report.encodeSeconds, wireSeconds: report.wireSeconds,
      decodeSeconds: report.decodeSeconds, exposedSeconds: report.exposedSeconds, stepSeconds: best.seconds,
      relativeError: uncontended?.relativeError ?? 0)
  }

  /// The same gradient summed by MPI alone, after the backward pass, as fp32.
  private func allReduceRow(
    _ state: TrainingState, _ timer: StepTimer, _ computeSeconds: Double
  ) throws -> Row? {
    guard ranks.rankCount > 1 else { return nil }
    let times = try (0..<stepCount).compactMap { _ in
      _ = try timer.compute()
      return try state.exchange.timePlainAllReduce(
        timer.gradients.flat.data, elementCount: state.model.parameters.elementCount)
    }
    guard let seconds = times.min() else { return nil }
    let elementCount = Double(state.model.parameters.elementCount)
    let sentFraction = Double(ranks.rankCount - 1) / Double(ranks.rankCount)
    return Row(
      codec: "MPI_Allreduce", ratio: 1, wireBytes: Int(8 * elementCount * sentFraction),
      encodeGigabytesPerSecond: 0,
      decodeGigabytesPerSecond: 0, seconds: seconds, encodeSeconds: 0, wireSeconds: seconds,
      decodeSeconds: 0, exposedSeconds: seconds, stepSeconds: computeSeconds + seconds, relativeError: 0)
  }
}

/// Times the parts of training steps.
final class StepTimer {
  struct Timing {
    let report: ExchangeReport
    let seconds: Double
  }

  private let state: TrainingState
  private let step: Step
  /// Elements of the rows of the last segment.
  private(set) var lastRowElementCount = 0

  init(_ state: TrainingState, data: TrainingData) {
    self.state = state
    step = Step(state, data: data)
  }

  var gradients: ParameterBuffer { step.gradients }

  /// A whole step; returns the seconds of norm and optimizer.
  func update() throws -> Double {
    let start = ContinuousClock.now
    let report = try step.run()
    return (ContinuousClock.now - start).inSeconds - report.computeSeconds - report.exchange.exposedSeconds
  }

  /// Forward and backward pass of the next segments, without an exchange; returns the seconds.
  func compute() throws -> Double {
    try state.ranks.control.barrier("before a backward pass")
    let start = ContinuousClock.now
    step.beginWithoutExchange()
    let rowCounter = RowCounter()
    _ = try step.forwardBackward(sink: rowCounter)
    lastRowElementCount = rowCounter.elementCount
    step.advance()
    return (ContinuousClock.now - start).inSeconds - step.exposedVocabularySeconds
  }

  /// A step up to the exchanged gradient, without the update.
  func exchange() throws -> Timing {
    try state.ranks.control.barrier("before a step")
    let start = ContinuousClock.now
    step.begin()
    _ = try step.forwardBackward(sink: step.exchangeSink)
    let report = try step.finishExchange()
    let seconds = (ContinuousClock.now - start).inSeconds
    state.commitExchange()
    step.advance()
    return Timing(report: report, seconds: seconds)
  }
}

/// A sink that exchanges nothing and counts the elements of the looked-up rows.
private final class RowCounter: GradientSink {
  private(set) var elementCount = 0

  func finish(_ range: GradientRange) {}
  func finish(rows: Matrix, of tokens: Vector<Int32>) { elementCount = rows.count }
}
