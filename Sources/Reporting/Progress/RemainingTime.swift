/// Estimates the time until a run ends: its steps at the pace of those beside which nothing was evaluated, and the delays by
/// the evaluations to come.
struct RemainingTime {
  private let firstStep: Int
  private let stepCount: Int
  private let evaluateEvery: Int
  private var last: (step: Int, seconds: Double)
  private var isEvaluating = false
  private var all = Pace()
  /// Of reports during which nothing was evaluated.
  private var plain = Pace()

  private struct Pace {
    var stepCount = 0
    var seconds = 0.0
  }

  /// Of a process that begins at `firstStep`; `evaluateEvery` is 0 where nothing is evaluated.
  init(firstStep: Int, stepCount: Int, evaluateEvery: Int) {
    self.firstStep = firstStep
    self.stepCount = stepCount
    self.evaluateEvery = evaluateEvery
    last = (firstStep, 0)
  }

  /// Adds the steps since the previous report, `seconds` after the beginning.
  mutating func add(step: Int, at seconds: Double, isEvaluating: Bool) {
    guard step > last.step else { return }
    all.stepCount += step - last.step
    all.seconds += seconds - last.seconds
    if !isEvaluating {
      plain.stepCount += step - last.step
      plain.seconds += seconds - last.seconds
    }
    self.isEvaluating = isEvaluating
    last = (step, seconds)
  }

  /// The time after the last report; nil where nothing is known of what remains.
  ///
  /// `closing` is the time after the last step, `perEvaluation` the delay by an evaluation where none has been seen.
  func seconds(closing: Double?, perEvaluation: Double?) -> Double? {
    guard all.stepCount > 0, last.step < stepCount || closing != nil else { return nil }
    let pace = plain.stepCount > 0 ? plain : all
    let perStep = pace.seconds / Double(pace.stepCount)
    return perStep * Double(max(stepCount - last.step, 0))
      + delay(perStep: perStep, perEvaluation) * Double(evaluationCount(from: last.step, to: stepCount))
      + (closing ?? 0)
  }

  /// What an evaluation adds to the steps.
  private func delay(perStep: Double, _ expected: Double?) -> Double {
    let begun = evaluationCount(from: firstStep + 1, to: last.step)
    guard begun > 0 else { return expected ?? 0 }
    let measured = max(all.seconds - perStep * Double(all.stepCount), 0) / Double(begun)
    // The first one has not shown all of its delay.
    return begun == 1 && isEvaluating ? max(measured, expected ?? 0) : measured
  }

  /// The evaluations of steps from `first` to before `end`: each begins with the step after its own, and the one of the last
  /// step belongs to the end of the run.
  private func evaluationCount(from first: Int, to end: Int) -> Int {
    guard evaluateEvery > 0 else { return 0 }
    return max(0, (end - 1) / evaluateEvery - (first - 1) / evaluateEvery)
  }
}
