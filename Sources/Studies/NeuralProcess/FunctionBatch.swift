import Foundation
import Tensors

/// Functions drawn from Gaussian processes, seen at some points each, of which the first are the context.
///
/// The kernel is `s² exp(−(x − x')² / 2ℓ²)` with ℓ uniform in (0.1, 0.6) and s in (0.1, 1) for every function; x is uniform
/// in (−2, 2), and y carries noise of deviation 0.02.
struct FunctionBatch {
  static let domain = -2.0...2.0
  static let noise = 0.02

  let functionCount: Int
  let pointCount: Int
  /// x and y, a row a point, function after function.
  let points: Matrix
  /// How many points of each function are context.
  private(set) var contextCounts: [Int]
  /// The log density, a point, of the points after the context given the context, under the process itself.
  private(set) var exactLogLikelihoods: [Double]

  init(configuration: NeuralProcessConfiguration, in arena: Arena) {
    functionCount = configuration.functions
    pointCount = configuration.points
    points = arena.matrix(rowCount: functionCount * pointCount, columnCount: 2)
    contextCounts = Array(repeating: 0, count: functionCount)
    exactLogLikelihoods = Array(repeating: 0, count: functionCount)
  }

  /// The rows of a function.
  func rows(of function: Int) -> Range<Int> { function * pointCount..<(function + 1) * pointCount }

  /// Draws functions, the first of which has this number.
  mutating func fill(first: Int, key: RandomKey, configuration: NeuralProcessConfiguration) {
    for function in 0..<functionCount {
      let key = key.derived(first + function)
      let choice = key.derived("kernel")
      let range = configuration.mostContext - configuration.leastContext + 1
      contextCounts[function] =
        configuration.leastContext + min(range - 1, Int(choice.uniform(0) * Double(range)))
      draw(
        function, length: choice.uniform(1, in: 0.1...0.6), scale: choice.uniform(2, in: 0.1...1), key: key)
    }
  }

  private mutating func draw(_ function: Int, length: Double, scale: Double, key: RandomKey) {
    let places = (0..<pointCount).map { key.derived("x").uniform($0, in: Self.domain) }
    let factor = choleskyFactor(of: places, length: length, scale: scale)
    let normals = (0..<(pointCount + 1) / 2).flatMap { pair in
      let (first, second) = key.derived("y").normalPair(pair)
      return [first, second]
    }
    var logLikelihood = 0.0
    for row in 0..<pointCount {
      var value = 0.0
      for column in 0...row { value += factor[row * pointCount + column] * normals[column] }
      points[function * pointCount + row, 0] = Float(places[row])
      points[function * pointCount + row, 1] = Float(value)
      // Given the points before it, a point is normal with the factor's diagonal as its deviation.
      if row >= contextCounts[function] {
        logLikelihood -=
          normals[row] * normals[row] / 2 + log(factor[row * pointCount + row]) + log(2 * .pi) / 2
      }
    }
    exactLogLikelihoods[function] = logLikelihood / Double(pointCount - contextCounts[function])
  }

  /// L with `L Lᵀ = K + noise² I`, row after row.
  private func choleskyFactor(of places: [Double], length: Double, scale: Double) -> [Double] {
    let count = places.count
    var factor = Array(repeating: 0.0, count: count * count)
    for row in 0..<count {
      for column in 0...row {
        let distance = (places[row] - places[column]) / length
        var value = scale * scale * exp(-distance * distance / 2)
        if row == column { value += Self.noise * Self.noise }
        for index in 0..<column { value -= factor[row * count + index] * factor[column * count + index] }
        factor[row * count + column] =
          row == column ? value.squareRoot() : value / factor[column * count + column]
      }
    }
    return factor
  }
}
