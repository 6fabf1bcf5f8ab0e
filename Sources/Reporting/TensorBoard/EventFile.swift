import Foundation
import Platform
import SwiftProtobuf

/// The part of a run's `tensorboard` folder that one process writes: a file of scalars by tag and step.
///
/// TensorBoard reads the files of a folder by name, one after the other. Each begins with a mark that makes it forget what
/// earlier files said of a step and all later ones, so a run that goes on from a checkpoint shows nothing twice.
struct EventFile: ~Copyable {
  private let file: OpenFile
  private let now: @Sendable () -> Date

  /// Begins a file in `folder`, after which nothing counts that was said of `step` or later.
  ///
  /// Step 0 begins the run anew: earlier files are removed. Throws `MilmError`.
  init(folder: String, expiringFromStep step: Int, now: @escaping @Sendable () -> Date = { Date() }) throws {
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    } catch {
      throw MilmError(folder, "cannot make the folder: \(error.localizedDescription)")
    }
    var earlier = try Self.names(in: folder)
    if step == 0 {
      for name in earlier { unlink("\(folder)/\(name)") }
      earlier = []
    }
    // By name the file must come after the others, also where the clock was set back.
    let newest = earlier.compactMap(Self.second).max() ?? 0
    let second = max(Int(now().timeIntervalSince1970), newest + 1)
    let host = Host.name
    let file = try OpenFile.appending(
      "\(folder)/\(Self.prefix)\(String(format: "%010d", second)).\(host).\(getpid()).milm")
    let version = try Self.record(step: 0, now()) { $0.fileVersion = "brain.Event:2" }
    let start = try Self.record(step: step, now()) { $0.sessionLog = .with { $0.status = .start } }
    try file.append(version + start)
    self.file = file
    self.now = now
  }

  /// Appends the values of a step; throws `MilmError`.
  func append(step: Int, _ values: [(tag: String, value: Double)]) throws {
    let record = try Self.record(step: step, now()) { event in
      event.summary = .with { summary in
        summary.value = values.map { tag, value in
          .with {
            $0.tag = tag
            $0.simpleValue = Float(value)
          }
        }
      }
    }
    try file.append(record)
  }

  private static func record(
    step: Int, _ time: Date, _ fill: (inout EventFileEvent) -> Void
  ) throws -> [UInt8] {
    var event = EventFileEvent()
    event.wallTime = time.timeIntervalSince1970
    event.step = Int64(step)
    fill(&event)
    return RecordFrame.bytes(of: try event.serializedBytes())
  }

  private static let prefix = "events.out.tfevents."

  private static func names(in folder: String) throws -> [String] {
    do {
      return try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasPrefix(prefix) }
    } catch {
      throw MilmError(folder, "cannot list: \(error.localizedDescription)")
    }
  }

  private static func second(of name: String) -> Int? {
    Int(name.dropFirst(prefix.count).prefix { $0.isNumber })
  }
}

extension TrainingMetrics {
  /// The report as TensorBoard shows it.
  var scalars: [(tag: String, value: Double)] {
    [
      ("training/loss", loss), ("training/perplexity", perplexity), ("training/learningRate", learningRate),
      ("training/gradientNorm", gradientNorm), ("training/skippedSteps", Double(skippedSteps)),
      ("speed/tokensPerSecond", tokensPerSecond), ("speed/computeSeconds", computeSeconds),
      ("exchange/exchangeSeconds", exchangeSeconds), ("exchange/exposedSeconds", exposedSeconds),
      ("exchange/rawBytes", Double(rawBytes)), ("exchange/wireBytes", Double(wireBytes)),
    ]
  }
}

extension EvaluationMetrics {
  /// The result as TensorBoard shows it.
  var scalars: [(tag: String, value: Double)] { [("\(split)/perplexity", perplexity)] }
}
