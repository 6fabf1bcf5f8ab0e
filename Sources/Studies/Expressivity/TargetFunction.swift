import Tensors

/// The functions to represent, of x and z standard normal in d dimensions.
enum TargetFunction: String, CaseIterable, Codable, Sendable {
  /// `Σᵢ xᵢ + zᵢ`.
  case sum
  /// `x ⊙ z`, d outputs; at d = 1 the product of two numbers.
  case product
  /// `x · z`.
  case dot
  /// `xᵀ A z` with random A, Σ A² = d, so that its variance is that of the dot product.
  case bilinear

  /// The title in figures.
  var title: String {
    switch self {
    case .sum: "sum Σ xᵢ + zᵢ"
    case .product: "products x ⊙ z"
    case .dot: "dot product x · z"
    case .bilinear: "bilinear form xᵀAz"
    }
  }

  func outputWidth(dimension: Int) -> Int { self == .product ? dimension : 1 }

  /// A of the bilinear form, d × d.
  func form(dimension: Int, key: RandomKey, in arena: Arena) -> Matrix {
    let form = arena.matrix(rowCount: dimension, columnCount: dimension)
    key.derived("form").fillNormally(form)
    let squares = form.elements.reduce(0.0) { $0 + Double($1) * Double($1) }
    let scale = Float((Double(dimension) / squares).squareRoot())
    for row in 0..<dimension {
      for column in 0..<dimension { form[row, column] *= scale }
    }
    return form
  }

  /// Sets the outputs for rows [x, z], with sums in double precision.
  func fill(_ outputs: Matrix, inputs: Matrix, form: Matrix) {
    let dimension = inputs.columnCount / 2
    for row in 0..<inputs.rowCount {
      func x(_ index: Int) -> Double { Double(inputs[row, index]) }
      func z(_ index: Int) -> Double { Double(inputs[row, dimension + index]) }
      let all = 0..<dimension
      switch self {
      case .sum: outputs[row, 0] = Float(all.reduce(0.0) { $0 + x($1) + z($1) })
      case .product: for index in all { outputs[row, index] = Float(x(index) * z(index)) }
      case .dot: outputs[row, 0] = Float(all.reduce(0.0) { $0 + x($1) * z($1) })
      case .bilinear:
        outputs[row, 0] = Float(
          all.reduce(0.0) { sum, i in
            sum + x(i) * all.reduce(0.0) { $0 + Double(form[i, $1]) * z($1) }
          })
      }
    }
  }
}

/// The examples of a function for one seed, the same for every network.
struct TargetExamples {
  let target: TargetFunction
  let dimension: Int
  let form: Matrix
  let inputs: Matrix
  let outputs: Matrix
  let testInputs: Matrix
  let testOutputs: Matrix
  private let arena = Arena()

  init(
    _ target: TargetFunction, dimension: Int, key: RandomKey, configuration: ExpressivityConfiguration,
    trains: Bool
  ) {
    self.target = target
    self.dimension = dimension
    form = target.form(dimension: dimension, key: key, in: arena)
    let width = target.outputWidth(dimension: dimension)
    let count = trains ? configuration.examples : 0
    inputs = arena.matrix(rowCount: count, columnCount: 2 * dimension)
    outputs = arena.matrix(rowCount: count, columnCount: width)
    testInputs = arena.matrix(rowCount: configuration.testExamples, columnCount: 2 * dimension)
    testOutputs = arena.matrix(rowCount: configuration.testExamples, columnCount: width)
    key.derived("training").fillNormally(inputs)
    key.derived("test").fillNormally(testInputs)
    target.fill(outputs, inputs: inputs, form: form)
    target.fill(testOutputs, inputs: testInputs, form: form)
  }
}
