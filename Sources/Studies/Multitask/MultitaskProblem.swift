import Foundation
import Tensors

/// The form that the tasks of a comparison have in common.
enum TaskFamily: String, CaseIterable, Codable, Sendable {
  /// `y = a x + b`.
  case affine
  /// `y = a sin(10 x) + b`.
  case sine

  var formula: String {
    switch self {
    case .affine: "y = a x + b"
    case .sine: "y = a sin(10 x) + b"
    }
  }

  func value(at x: Double, a: Double, b: Double) -> Double {
    switch self {
    case .affine: a * x + b
    case .sine: a * sin(10 * x) + b
    }
  }
}

/// The tasks of one seed, a and b uniform in (−1, 1), and their examples, x uniform in (−1, 1).
struct MultitaskProblem {
  let family: TaskFamily
  let coefficients: [(a: Double, b: Double)]
  private let key: RandomKey

  init(family: TaskFamily, taskCount: Int, key: RandomKey) {
    self.family = family
    self.key = key
    let draws = key.derived("tasks")
    coefficients = (0..<taskCount).map {
      (draws.uniform(2 * $0, in: -1...1), draws.uniform(2 * $0 + 1, in: -1...1))
    }
  }

  /// The examples of a step, the same for every model.
  func fill(_ examples: Examples, step: Int) {
    let draws = key.derived("examples").derived(step)
    examples.tasks.fill(0)
    for row in 0..<examples.count {
      let task = min(coefficients.count - 1, Int(draws.uniform(2 * row) * Double(coefficients.count)))
      set(row, of: examples, task: task, x: draws.uniform(2 * row + 1, in: -1...1))
    }
  }

  /// Points of every task that are not used in training.
  func fillForEvaluation(_ examples: Examples, pointsPerTask: Int) {
    let draws = key.derived("evaluation")
    examples.tasks.fill(0)
    for row in 0..<examples.count {
      set(row, of: examples, task: row / pointsPerTask, x: draws.uniform(row, in: -1...1))
    }
  }

  private func set(_ row: Int, of examples: Examples, task: Int, x: Double) {
    let (a, b) = coefficients[task]
    examples.inputs[row, 0] = Float(x)
    examples.tasks[row, task] = 1
    examples.targets[row, 0] = Float(family.value(at: x, a: a, b: b))
  }
}

/// Rows of x, of the one-hot task and of y.
struct Examples {
  let inputs: Matrix
  let tasks: Matrix
  let targets: Matrix
  var count: Int { inputs.rowCount }

  init(count: Int, taskCount: Int, in arena: Arena) {
    inputs = arena.matrix(rowCount: count, columnCount: 1)
    tasks = arena.matrix(rowCount: count, columnCount: taskCount)
    targets = arena.matrix(rowCount: count, columnCount: 1)
  }
}
