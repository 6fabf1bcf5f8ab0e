import Communication
import Layers
import Tensors

/// What the training thread of this rank does in a step that is traced, stretch by stretch.
final class StepTrace {
  /// A kind of work, by which a viewer tells stretches apart.
  enum Category: String {
    /// Something is computed.
    case compute
    /// Other ranks are waited for.
    case wait
  }

  /// A stretch of the step.
  struct Stretch {
    let name: String
    let category: Category
    let start: ContinuousClock.Instant
    let end: ContinuousClock.Instant
  }

  /// The step, counted from the beginning of the run.
  let step: Int
  let start = ContinuousClock.now
  private(set) var stretches: [Stretch] = []
  private var last: ContinuousClock.Instant

  init(step: Int) {
    self.step = step
    last = start
  }

  /// Ends a stretch, which began where the one before it ended.
  func end(_ name: String, _ category: Category = .compute) {
    let now = ContinuousClock.now
    stretches.append(Stretch(name: name, category: category, start: last, end: now))
    last = now
  }
}

/// A sink before another: ends a stretch of the trace with each part of the gradient.
final class TracingSink: GradientSink {
  private let trace: StepTrace
  private let next: any GradientSink

  init(_ trace: StepTrace, before next: any GradientSink) {
    self.trace = trace
    self.next = next
  }

  func finish(_ range: GradientRange) throws {
    switch range.name {
    case _ where trace.stretches.count < 2:
      trace.end(range.name == "decoder" ? "forward, loss, softmax and decoder" : "forward, loss and softmax")
    // A few numbers, which are finished with the last piece of the matrix.
    case "softmax.bias": break
    default: trace.end("backward, \(range.name)")
    }
    try next.finish(range)
  }

  func finish(rows: Matrix, of tokens: Vector<Int32>) throws {
    trace.end("backward, input words")
    try next.finish(rows: rows, of: tokens)
  }
}
