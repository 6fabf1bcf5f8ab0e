import Foundation
import Tensors

/// Functions that no network is trained on, the same for all of them.
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

  /// The mean log density, a point, of what lies outside the contexts, under the processes themselves.
  var exactLogLikelihood: Double {
    let all = batches.flatMap(\.exactLogLikelihoods)
    return all.reduce(0, +) / Double(all.count)
  }

  /// The same under a network: of the points of a function together, averaged over draws of z given the context.
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

  /// The first functions with many points of context, as a network sees them.
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

/// A held-out function and what a network makes of its context.
struct FunctionDrawing: Codable, Sendable {
  /// x and y of the context.
  let context: [[Float]]
  /// x and y of the points that the network does not see.
  let others: [[Float]]
  /// Where the network was asked.
  let places: [Double]
  /// For every draw of z and every place the mean and the deviation of y.
  var samples: [[[Float]]]

  /// The mean and the deviation over all draws at a place.
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
