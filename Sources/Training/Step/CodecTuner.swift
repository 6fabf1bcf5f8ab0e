import Checkpoints
import Communication
import Foundation
import Logging
import Platform
import Tensors

/// Chooses the codec for `exchange.codec: auto`, and compares the choice with its prediction.
///
/// Every rank has one. They measure together after the second step of a process; rank 0's measurements decide, and the
/// choice is kept in the checkpoint.
final class CodecTuner {
  /// The first step of a process is slower than the following ones.
  private static let stepsBeforeMeasuring = 2
  private static let windowStepCount = 20

  private let state: TrainingState
  private let logger: Logger
  private var stepCount = 0
  private var prediction: ExchangePrediction?
  private var window: [(exposed: Double, step: Double)] = []
  private var hasWarned = false
  /// Whether rank 0 asks all ranks to choose again, with the next all-reduce of the loss.
  private(set) var isRetuningRequested = false

  init(_ state: TrainingState, logger: Logger) {
    self.state = state
    self.logger = logger
  }

  /// Considers the last step, and may choose another codec; all ranks call it with the mean gradient.
  func consider(_ report: ExchangeReport, gradient: UnsafeMutablePointer<Float>, retunes: Bool) throws {
    stepCount += 1
    if state.isCodecOpen {
      guard stepCount >= Self.stepsBeforeMeasuring else { return }
      try choose(gradient, reason: "auto")
    } else if retunes {
      isRetuningRequested = false
      try choose(gradient, reason: "auto, chosen again")
    } else {
      compareWithPrediction(report)
    }
  }

  private func choose(_ gradient: UnsafeMutablePointer<Float>, reason: String) throws {
    let exchange = state.exchange
    let codecs = state.configuration.exchange.candidates(for: state.configuration.optimizer)
    let link = try exchange.measureLink()
    let measurements = try exchange.measure(codecs, on: gradient)
    var chosen = Codec.lossless
    if state.ranks.isCoordinator, let link {
      let predictions = measurements.map {
        exchange.predict($0, link: link, hasSpareCore: state.hasSpareCore)
      }.cheapestOfEachCodec
      log(predictions, link)
      prediction = predictions.best(computeSeconds: exchange.timing.finishSeconds)
      chosen = prediction?.codec ?? chosen
    }
    let bytes = try state.ranks.control.broadcast(
      "codec", Array(chosen.rawValue.utf8), from: Ranks.coordinator)
    let name = String(decoding: bytes, as: UTF8.self)
    guard let codec = Codec(rawValue: name) else {
      throw MilmError("rank 0 chose the codec '\(name)', which this rank does not know")
    }
    window.removeAll()
    hasWarned = false
    state.choose(codec)
    let exposed = prediction.map { String(format: ", %.3f s exposed predicted", $0.exposedSeconds) } ?? ""
    state.counters.codecDecisions.append(
      .init(step: state.counters.step, codec: codec.rawValue, reason: reason + exposed))
    guard state.ranks.isCoordinator else { return }
    logger.info("codec \(codec.rawValue) from step \(state.counters.step) on (\(reason)\(exposed))")
  }

  private func log(_ predictions: [ExchangePrediction], _ link: LinkMeasurement) {
    logger.info(
      "link",
      metadata: [
        "latencyMicroseconds": "\(Int(link.latencySeconds * 1e6))",
        "megabytesPerSecond": "\(Int(link.bytesPerSecond / 1e6))",
        "nodes": "\(state.exchange.layout.nodeCount)",
        "partitions": "\(state.exchange.layout.partitionCount)",
        "spareCore": "\(state.hasSpareCore)",
      ])
    for prediction in predictions {
      let name = prediction.codec.rawValue.padding(toLength: 8, withPad: " ", startingAt: 0)
      let line =
        "\(name) ratio \(number(prediction.ratio)), seconds: encode \(number(prediction.encodeSeconds)), "
        + "wire \(number(prediction.wireSeconds)), decode \(number(prediction.decodeSeconds)), "
        + "exposed \(number(prediction.exposedSeconds)), cost per step \(number(prediction.costSeconds))"
      logger.info("\(line)")
    }
  }

  private func number(_ value: Double) -> String { String(format: "%.3f", value) }

  /// Warns once, on rank 0, where the exposed communication time is far above the prediction.
  private func compareWithPrediction(_ report: ExchangeReport) {
    guard let prediction, report.codec == prediction.codec, !hasWarned else { return }
    window.append((report.exposedSeconds, state.exchange.timing.finishSeconds))
    guard window.count == Self.windowStepCount else { return }
    let count = Double(window.count)
    let exposed = window.reduce(0) { $0 + $1.exposed } / count
    let computing = window.reduce(0) { $0 + $1.step } / count
    window.removeAll(keepingCapacity: true)
    guard exposed > 2 * prediction.exposedSeconds + 0.05 * computing else { return }
    hasWarned = true
    let retunes = state.configuration.exchange.retune
    let line =
      "\(prediction.codec.rawValue): exposed communication takes \(number(exposed)) s per step, "
      + "\(number(prediction.exposedSeconds)) s were predicted; "
      + (retunes ? "choosing again" : "exchange.retune would choose again")
    logger.warning("\(line)")
    isRetuningRequested = retunes
  }
}
