import Communication
import LanguageModel

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

  /// Ends the stretch after which a part of the gradient is finished.
  func end(_ part: GradientPart) {
    switch part {
    case .rows: end("backward, input words")
    case .dense(let range) where stretches.count < 2:
      end(range.name == "decoder" ? "forward, loss, softmax and decoder" : "forward, loss and softmax")
    // A few numbers, which are finished with the last piece of the matrix.
    case .dense(let range) where range.name == "softmax.bias": break
    case .dense(let range): end("backward, \(range.name)")
    }
  }
}
