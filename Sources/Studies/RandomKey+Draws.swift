import Foundation
import Tensors

extension RandomKey {
  /// Element `index` of the stream, uniform in a range.
  func uniform(_ index: Int, in range: ClosedRange<Double>) -> Double {
    range.lowerBound + (range.upperBound - range.lowerBound) * uniform(index)
  }

  /// Elements 2 · `pair` and 2 · `pair` + 1 of the stream, standard normal (Box & Muller 1958).
  func normalPair(_ pair: Int) -> (Double, Double) {
    let radius = (-2 * log(1 - uniform(2 * pair))).squareRoot()
    let angle = 2 * Double.pi * uniform(2 * pair + 1)
    return (radius * cos(angle), radius * sin(angle))
  }

  /// The first elements of the stream, standard normal, row after row into a matrix without gaps.
  func fillNormally(_ matrix: Matrix) {
    let flat = matrix.reshaped(rowCount: 1, columnCount: matrix.count)
    for pair in 0..<(flat.count + 1) / 2 {
      let (first, second) = normalPair(pair)
      flat[0, 2 * pair] = Float(first)
      if 2 * pair + 1 < flat.count { flat[0, 2 * pair + 1] = Float(second) }
    }
  }
}
