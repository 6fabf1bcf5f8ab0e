/// One operation that all ranks take part in: named in messages, numbered in frames.
public struct CollectiveOperation: Sendable, Hashable, CustomStringConvertible {
  /// The part of a step an operation belongs to; its raw value stands in frames.
  public enum Phase: UInt8, Sendable {
    /// Not part of a gradient exchange: start, checkpoint, evaluation.
    case control = 0
    /// Every rank sends each owner its part.
    case reduce = 1
    /// Every owner sends the mean of its part to all.
    case distribute = 2
    /// The row numbers of a gradient that touches few rows.
    case rowIdentifiers = 3
    /// The rows of a gradient that touches few rows.
    case rows = 4
    /// The ranks of a node wait for each other at their shared memory.
    case node = 5
    /// Measuring the link and the codecs.
    case probe = 6
    /// Ranks that have shards of a matrix compute with all of it.
    case shards = 7
  }

  /// What travels, for people: a tensor and its bucket, or the purpose of a control operation.
  public let name: String
  /// The part of the step.
  public let phase: Phase
  /// The step of the run; 0 for control operations.
  public let step: Int
  /// The number of the bucket; 0 for control operations.
  public let index: Int

  /// One part of a step's gradient exchange.
  public init(name: String, phase: Phase, step: Int, index: Int) {
    self.name = name
    self.phase = phase
    self.step = step
    self.index = index
  }

  /// An operation outside the gradient exchange; `name` says its purpose and must be the same on all ranks.
  public static func control(_ name: String) -> CollectiveOperation {
    CollectiveOperation(name: name, phase: .control, step: 0, index: 0)
  }

  /// As in "step 12, embedding.weight 3/9, reduce".
  public var description: String {
    phase == .control ? "'\(name)'" : "step \(step), \(name), \(phase)"
  }
}
