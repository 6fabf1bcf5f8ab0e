import Foundation
import Tensors

/// Functions drawn from Gaussian processes, each observed at some points, of which the first are the context.
///
/// The kernel is `s² exp(−(x − x')² / 2ℓ²)` with ℓ uniform in (0.1, 0.6) and s in (0.1, 1) per function; x is uniform in
/// (−2, 2); y has noise of standard deviation 0.02.
struct FunctionBatch {
  static let domain = -2.0...2.0
  static let noise = 0.02

  let functionCount: Int
  let pointCount: Int
  /// x and y, one row per point, function by function.
  let points: Matrix
  private(set) var contextCounts: [Int]
  /// The log density per point of the points after the context, given the context, under the process itself.
  private(set) var exactLogLikelihoods: [Double]

  init(configuration: NeuralProcessConfiguration, in arena: Arena) {
    functionCount = configuration.functions
    pointCount = configuration.points
    points = arena.matrix(rowCount: functionCount * pointCount, columnCount: 2)
    contextCounts = Array(repeating: 0, count: functionCount)
    exactLogLikelihoods = Array(repeating: 0, count: functionCount)
  }

  func rows(of function: Int) -> Range<Int> { function * pointCount..<(function + 1) * pointCount }

  /// Draws functions numbered from `first`.
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
      // Given the previous points, a point is normal with the factor's diagonal as its standard deviation.
      if row >= contextCounts[function] {
        logLikelihood -=
          normals[row] * normals[row] / 2 + log(factor[row * pointCount + row]) + log(2 * .pi) / 2
      }
    }
    exactLogLikelihoods[function] = logLikelihood / Double(pointCount - contextCounts[function])
  }

  /// L with `L Lᵀ = K + noise² I`, row-major.
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

/// Functions that are not used in training, the same for all networks.
struct HeldOutFunctions {
  private let configuration: NeuralProcessConfiguration
  private let key: RandomKey
  private let batches: [FunctionBatch]
  private let arena = Arena()

  init(configuration: NeuralProcessConfiguration, key: RandomKey) {
    self.configuration = configuration
    self.key = key
    batches = (0..<configuration.testFunctions / configuration.functions).map { [arena] index in
      var batch = FunctionBatch(configuration: configuration, in: arena)
      batch.fill(first: index * configuration.functions, key: key, configuration: configuration)
      return batch
    }
  }

  /// The mean log density per point outside the contexts, under the processes themselves.
  var exactLogLikelihood: Double {
    let all = batches.flatMap(\.exactLogLikelihoods)
    return all.reduce(0, +) / Double(all.count)
  }

  /// The same under a network: the joint density of a function's points, averaged over draws of z given the context.
  func logLikelihood(under network: NeuralProcess) -> Double {
    var sum = 0.0
    for batch in batches {
      network.encode(batch)
      var draws = Array(repeating: [Double](), count: batch.functionCount)
      for sample in 0..<configuration.samples {
        network.decode(
          at: batch.points.columns(0..<1), given: .context, key: key.derived("scoring").derived(sample))
        for function in 0..<batch.functionCount {
          let rows = batch.rows(of: function).dropFirst(batch.contextCounts[function])
          draws[function].append(
            rows.reduce(0) { $0 + network.logDensity($1, of: batch.points[$1, 1]) })
        }
      }
      for (function, values) in draws.enumerated() {
        let largest = values.max() ?? 0
        let mean = values.reduce(0) { $0 + exp($1 - largest) } / Double(values.count)
        sum += (largest + log(mean)) / Double(batch.pointCount - batch.contextCounts[function])
      }
    }
    return sum / Double(configuration.testFunctions)
  }

  /// Predictions for the functions with contexts of about 15 points.
  func drawings(by network: NeuralProcess) -> [FunctionDrawing] {
    let batch = batches[0]
    let chosen = (0..<batch.functionCount).sorted {
      (abs(batch.contextCounts[$0] - 15), $0) < (abs(batch.contextCounts[$1] - 15), $1)
    }.prefix(3).sorted()
    let places = arena.matrix(rowCount: batch.points.rowCount, columnCount: 1)
    let domain = FunctionBatch.domain
    let grid = (0..<batch.pointCount).map {
      domain.lowerBound + (domain.upperBound - domain.lowerBound) * Double($0) / Double(batch.pointCount - 1)
    }
    for row in 0..<places.rowCount { places[row, 0] = Float(grid[row % batch.pointCount]) }
    var drawings = chosen.map { function in
      let rows = Array(batch.rows(of: function))
      let contextRows = rows.prefix(batch.contextCounts[function])
      func points(_ rows: ArraySlice<Int>) -> [[Float]] {
        rows.map { [batch.points[$0, 0], batch.points[$0, 1]] }
      }
      return FunctionDrawing(
        context: points(contextRows), others: points(rows.dropFirst(contextRows.count)), places: grid,
        samples: [])
    }
    network.encode(batch)
    for sample in 0..<configuration.samples {
      network.decode(at: places, given: .context, key: key.derived("drawing").derived(sample))
      for (index, function) in chosen.enumerated() {
        drawings[index].samples.append(
          batch.rows(of: function).map {
            let (mean, deviation) = network.prediction($0)
            return [mean, deviation]
          })
      }
    }
    return drawings
  }
}

/// A held-out function and a network's predictions from its context.
struct FunctionDrawing: Codable, Sendable {
  /// x and y of the context.
  let context: [[Float]]
  /// x and y of the held-out points.
  let others: [[Float]]
  /// The x of the predictions.
  let places: [Double]
  /// The mean and the standard deviation of y, for each draw of z and place.
  var samples: [[[Float]]]

  /// The mean and the standard deviation at a place over all draws.
  func mixture(_ place: Int) -> (mean: Double, deviation: Double) {
    let count = Double(samples.count)
    let mean = samples.reduce(0) { $0 + Double($1[place][0]) } / count
    let square = samples.reduce(0) { sum, sample in
      let (m, s) = (Double(sample[place][0]), Double(sample[place][1]))
      return sum + m * m + s * s
    }
    return (mean, max(0, square / count - mean * mean).squareRoot())
  }
}
