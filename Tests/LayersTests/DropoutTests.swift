import Layers
import Tensors
import Testing

@Suite struct DropoutTests {
  let engine = ComputeEngine()
  let arena = Arena()
  let key = RandomKey(seed: 3).derived("test")

  private func ones(rows: Int, columns: Int) -> Matrix {
    let matrix = arena.matrix(rowCount: rows, columnCount: columns)
    matrix.fill(1)
    return matrix
  }

  @Test(arguments: [0.1, 0.5, 0.9])
  func keepsTheExpectedFractionAndTheMean(rate: Double) {
    let values = ones(rows: 64, columns: 512)
    Dropout(rate: rate).apply(
      to: values, laneCount: 8, firstLane: 0, firstTime: 0, key: key, engine: engine)
    let kept = values.elements.filter { $0 != 0 }
    #expect(abs(Double(kept.count) / Double(values.count) - (1 - rate)) < 0.01)
    #expect(kept.allSatisfy { abs($0 - Float(1 / (1 - rate))) < 1e-5 })
  }

  @Test func theMaskOfALaneDoesNotDependOnTheDistributionOfLanes() {
    let together = ones(rows: 3 * 6, columns: 40)
    let dropout = Dropout(rate: 0.3)
    dropout.apply(to: together, laneCount: 6, firstLane: 0, firstTime: 5, key: key, engine: engine)
    for first in [0, 2, 4] {
      let part = ones(rows: 3 * 2, columns: 40)
      dropout.apply(to: part, laneCount: 2, firstLane: first, firstTime: 5, key: key, engine: engine)
      for time in 0..<3 {
        #expect(
          part.rows(time * 2..<time * 2 + 2).elements
            == together.rows(time * 6 + first..<time * 6 + first + 2).elements)
      }
    }
  }

  @Test func everyLaneTimeAndStepHasItsOwnMask() {
    let masks = [(0, 0, key), (1, 0, key), (0, 1, key), (0, 0, key.derived(1))].map { lane, time, key in
      let values = ones(rows: 1, columns: 64)
      Dropout(rate: 0.5).apply(
        to: values, laneCount: 1, firstLane: lane, firstTime: time, key: key, engine: engine)
      return values.elements
    }
    #expect(Set(masks).count == masks.count)
  }

  @Test func rateZeroChangesNothing() {
    let values = ones(rows: 2, columns: 9)
    Dropout(rate: 0).apply(to: values, laneCount: 2, firstLane: 0, firstTime: 0, key: key, engine: engine)
    #expect(values.elements.allSatisfy { $0 == 1 })
  }
}
