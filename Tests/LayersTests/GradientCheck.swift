import Layers
import Tensors
import Testing

/// The engines that layers run on; each test creates its own, because one thread at a time computes on an engine.
enum TestedEngine: CaseIterable {
  /// OpenBLAS.
  case reference
  /// The fastest library.
  case fast
  /// The fastest library on three threads.
  case threaded

  func make() throws -> ComputeEngine {
    switch self {
    case .reference: ComputeEngine(library: .openBLAS)
    case .fast: ComputeEngine()
    case .threaded: try ComputeEngine(threadCount: 3)
    }
  }
}

/// A tensor under test: its values and their gradient from a backward pass.
struct CheckedTensor {
  let name: String
  let values: Matrix
  let gradient: Matrix
}

/// Compares analytic gradients with central differences.
///
/// For every tensor the largest difference is at most `tolerance` of the largest entry.
/// `loss` adds in double precision.
func expectGradientsMatch(
  _ tensors: [CheckedTensor], epsilon: Float = 5e-3, tolerance: Double = 2e-3,
  sourceLocation: SourceLocation = #_sourceLocation, loss: () -> Double
) {
  for tensor in tensors {
    var largestEntry = 0.0
    var largestDifference = 0.0
    for row in 0..<tensor.values.rowCount {
      for column in 0..<tensor.values.columnCount {
        let value = tensor.values[row, column]
        tensor.values[row, column] = value + epsilon
        let above = loss()
        tensor.values[row, column] = value - epsilon
        let below = loss()
        tensor.values[row, column] = value
        let numeric = (above - below) / (Double(value + epsilon) - Double(value - epsilon))
        largestEntry = max(largestEntry, abs(numeric))
        largestDifference = max(largestDifference, abs(numeric - Double(tensor.gradient[row, column])))
      }
    }
    #expect(largestEntry > 0, "\(tensor.name) has no influence", sourceLocation: sourceLocation)
    #expect(
      largestDifference <= tolerance * largestEntry,
      "\(tensor.name): off by \(largestDifference) where the largest entry is \(largestEntry)",
      sourceLocation: sourceLocation)
  }
}

extension Matrix {
  /// Fills the matrix with numbers in (−limit, limit) that depend on the name.
  func randomize(_ name: String, limit: Float = 0.8, engine: ComputeEngine) {
    engine.fillUniformly(data, count: count, limit: limit, key: RandomKey(seed: 7).derived(name))
  }

  /// `Σ self · other`, in double precision.
  func dot(_ other: Matrix) -> Double {
    zip(elements, other.elements).reduce(0) { $0 + Double($1.0) * Double($1.1) }
  }
}

extension Weights {
  /// Every tensor with its gradient.
  func checked(against gradients: ParameterBuffer) -> [CheckedTensor] { values.checked(against: gradients) }
}

extension ParameterBuffer {
  /// Fills every tensor with random numbers, so that none is zero and no two are equal.
  func randomize(limit: Float = 0.8, engine: ComputeEngine) {
    for parameter in list.parameters {
      self[parameter].randomize(parameter.name, limit: limit, engine: engine)
    }
  }

  /// Every tensor with its gradient.
  func checked(against gradients: ParameterBuffer) -> [CheckedTensor] {
    list.parameters.map { CheckedTensor(name: $0.name, values: self[$0], gradient: gradients[$0]) }
  }
}
