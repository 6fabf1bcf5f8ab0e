import CKernels
import Tensors

/// Inverted dropout (Srivastava 2014) whose mask is a pure function of key, global lane and element.
///
/// The same call on a gradient is the derivative, so no mask is stored.
package struct Dropout: Sendable {
  /// The fraction of elements set to zero, in [0, 1).
  package let rate: Double

  /// Dropout of a rate; 0 changes nothing.
  package init(rate: Double) {
    precondition(rate >= 0 && rate < 1, "a dropout rate of \(rate)")
    self.rate = rate
  }

  /// Drops elements of time-major rows: row t·B + b belongs to global lane `firstLane + b`
  /// and time `firstTime + t`.
  package func apply(
    to values: Matrix, laneCount: Int, firstLane: Int, firstTime: Int, key: RandomKey, engine: ComputeEngine
  ) {
    guard rate > 0 else { return }
    let keep = Float(1 - rate)
    engine.forEachRowPart(of: values) { rows in
      for row in rows {
        let laneKey = key.derived(firstLane + row % laneCount)
        let element = (firstTime + row / laneCount) * values.columnCount
        CKernels_dropout(values.row(row), values.columnCount, laneKey.bits, UInt64(element), keep)
      }
    }
  }

  /// Drops elements of the rows of one lane, on the calling thread; row t is of time `firstTime + t`.
  func applyToRows(_ values: Matrix, firstTime: Int, key: RandomKey) {
    guard rate > 0 else { return }
    for row in 0..<values.rowCount {
      CKernels_dropout(
        values.row(row), values.columnCount, key.bits, UInt64((firstTime + row) * values.columnCount),
        Float(1 - rate))
    }
  }
}
