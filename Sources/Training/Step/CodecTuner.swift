import Checkpoints
import Communication
import Foundation
import Logging
import Tensors

/// Chooses the codec where the configuration leaves it to the program, and minds whether the choice was good.
///
/// Every rank has one. They measure together, after the second step a process takes; rank 0's numbers decide,
/// and the choice is frozen in the checkpoint.
final class CodecTuner {
  /// The first step of a process is slower than those that follow, so the second is measured.
  private static let stepsBeforeMeasuring = 2
  private static let windowStepCount = 20

  private let replica: Replica
  private let logger: Logger
  private var stepCount = 0
  private var prediction: ExchangePrediction?
  private var window: [(exposed: Double, step: Double)] = []
  private var hasWarned = false
  /// Whether rank 0 wants all ranks to choose again; it tells them with the loss of the step.
  private(set) var wantsRetuning = false

  init(_ replica: Replica, logger: Logger) {
    self.replica = replica
    self.logger = logger
  }

  /// Takes a step in; all ranks call it between steps with the mean gradient, and may choose another codec.
  func consider(_ report: ExchangeReport, gradient: UnsafeMutablePointer<Float>, retunes: Bool) throws {
    stepCount += 1
    if replica.codecIsOpen {
      guard stepCount >= Self.stepsBeforeMeasuring else { return }
      try choose(gradient, reason: "auto")
    } else if retunes {
      wantsRetuning = false
      try choose(gradient, reason: "auto, chosen again")
    } else {
      compareWithPrediction(report)
    }
  }

  private func choose(_ gradient: UnsafeMutablePointer<Float>, reason: String) throws {
    let settings = replica.configuration.exchange
    let exchange = replica.exchange
    let codecs = Codec.allCases.filter { codec in
      settings.reasonAgainst(replica.configuration.optimizer, codec: codec) == nil
        && (codec.isExact || settings.allowLoss)
    }
    let link = try exchange.measureLink()
    let measurements = try exchange.measure(codecs, on: gradient)
    var chosen = Codec.lossless
    if replica.ranks.isCoordinator, let link {
      let predictions = measurements.map {
        exchange.predict($0, link: link, hasSpareCore: replica.hasSpareCore)
      }.quickestOfEachCodec
      tell(predictions, link)
      prediction = predictions.best(computeSeconds: exchange.timing.finishSeconds)
      chosen = prediction?.codec ?? chosen
    }
    let bytes = try replica.ranks.control.broadcast(
      "codec", Array(chosen.rawValue.utf8), from: Ranks.coordinator)
    let name = String(decoding: bytes, as: UTF8.self)
    guard let codec = Codec(rawValue: name) else {
      throw TrainingError("rank 0 chose the codec '\(name)', which this rank does not know")
    }
    window.removeAll()
    hasWarned = false
    exchange.choose(codec)
    let exposed = prediction.map { String(format: ", %.3f s exposed predicted", $0.exposedSeconds) } ?? ""
    replica.state.codecDecisions.append(
      .init(step: replica.state.step, codec: codec.rawValue, reason: reason + exposed))
    guard replica.ranks.isCoordinator else { return }
    logger.info("codec \(codec.rawValue) from step \(replica.state.step) on (\(reason)\(exposed))")
  }

  private func tell(_ predictions: [ExchangePrediction], _ link: LinkMeasurement) {
    logger.info(
      "link",
      metadata: [
        "latencyMicroseconds": "\(Int(link.latencySeconds * 1e6))",
        "megabytesPerSecond": "\(Int(link.bytesPerSecond / 1e6))",
        "nodes": "\(replica.exchange.layout.nodeCount)", "slices": "\(replica.exchange.layout.sliceCount)",
        "spareCore": "\(replica.hasSpareCore)",
      ])
    for prediction in predictions {
      let name = prediction.codec.rawValue.padding(toLength: 8, withPad: " ", startingAt: 0)
      let line =
        "\(name) ratio \(number(prediction.ratio)), seconds: encode \(number(prediction.encodeSeconds)), "
        + "wire \(number(prediction.wireSeconds)), decode \(number(prediction.decodeSeconds)), "
        + "exposed \(number(prediction.exposedSeconds)), cost a step \(number(prediction.costSeconds))"
      logger.info("\(line)")
    }
  }

  private func number(_ value: Double) -> String { String(format: "%.3f", value) }

  /// Says once, on rank 0, when the exchange is exposed far longer than was predicted.
  private func compareWithPrediction(_ report: ExchangeReport) {
    guard let prediction, report.codec == prediction.codec, !hasWarned else { return }
    window.append((report.exposedSeconds, replica.exchange.timing.finishSeconds))
    guard window.count == Self.windowStepCount else { return }
    let count = Double(window.count)
    let exposed = window.reduce(0) { $0 + $1.exposed } / count
    let computing = window.reduce(0) { $0 + $1.step } / count
    window.removeAll(keepingCapacity: true)
    guard exposed > 2 * prediction.exposedSeconds + 0.05 * computing else { return }
    hasWarned = true
    let retunes = replica.configuration.exchange.retune
    let line =
      "\(prediction.codec.rawValue) is exposed \(number(exposed)) s a step, "
      + "\(number(prediction.exposedSeconds)) were predicted; "
      + (retunes ? "choosing again" : "exchange.retune would choose again")
    logger.warning("\(line)")
    wantsRetuning = retunes
  }
}

extension Replica {
  /// What gradients travel with until there is a choice: without loss, or as they are where they need not travel.
  static func firstCodec(_ settings: ExchangeSettings, nodeCount: Int) -> Codec {
    guard settings.codec == .auto else { return settings.chosenCodec }
    return nodeCount > 1 ? .lossless : .none
  }

  /// The decision at the beginning of a run; none where it is to be made.
  func firstDecisions() -> [CheckpointState.CodecDecision] {
    guard configuration.exchange.codec == .auto else {
      return [.init(step: 0, codec: codec.rawValue, reason: "configured")]
    }
    guard exchange.layout.nodeCount == 1 else { return [] }
    return [.init(step: state.step, codec: codec.rawValue, reason: Self.oneNodeReason)]
  }

  private static let oneNodeReason = "auto: one node, nothing is sent"

  /// The decision of a restored run that has one node now and had more, or none.
  func firstDecisions(after saved: CheckpointState) -> [CheckpointState.CodecDecision] {
    saved.codecDecisions.last?.codec == codec.rawValue ? [] : firstDecisions()
  }

  /// Whether the codec is still to be chosen.
  var codecIsOpen: Bool {
    configuration.exchange.codec == .auto && exchange.layout.nodeCount > 1 && !codecIsFrozen
  }

  /// Takes over the codec of a restored run, where ranks and nodes are what they were.
  func adoptCodec(of saved: CheckpointState) {
    guard configuration.exchange.codec == .auto else { return }
    let nodes = saved.nodeOfRank ?? Array(0..<saved.rankCount)
    if exchange.layout.nodeCount > 1, NodeLayout(nodeOfRank: nodes) == exchange.layout,
      let name = saved.codecDecisions.last?.codec, let codec = Codec(rawValue: name)
    {
      exchange.choose(codec)
      frozenDecisionCount = 0
    } else {
      frozenDecisionCount = saved.codecDecisions.count
    }
  }

  /// Whether a codec was chosen for the ranks there are.
  private var codecIsFrozen: Bool { state.codecDecisions.count > frozenDecisionCount }

  /// Whether the exchange's threads have a core that no compute thread of this host wants, among those that this rank may
  /// use; the other ranks of the host are taken to use the same.
  var hasSpareCore: Bool {
    ranks.countOnHost * engine.threadCount < Processors.allowed.count
  }
}
