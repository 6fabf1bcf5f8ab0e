import LanguageModel
import Tensors

/// Memory for the tokens of one step: of its segments in the lanes that a rank reads, and of one segment in the rank's own.
package final class StepTokens {
  private struct Rows {
    let inputs: Vector<Int32>
    let targets: Vector<Int32>

    init(laneCount: Int, _ training: TrainingConfiguration, in arena: Arena) {
      inputs = arena.vector(of: Int32.self, count: laneCount * training.segment)
      targets = arena.vector(of: Int32.self, count: laneCount * training.segment)
    }
  }

  private let lanes: Range<Int>
  private let ownLanes: Range<Int>
  private let stepCount: Int
  /// By segment of the step.
  private let rows: [Rows]
  private let own: Rows
  private let arena: Arena
  private var segments = 0..<0

  /// Memory for segments of `lanes`, `ownLanes` of which are the rank's.
  package init(
    lanes: Range<Int>, ownLanes: Range<Int>, _ training: TrainingConfiguration, in arena: Arena = Arena()
  ) {
    self.lanes = lanes
    self.ownLanes = ownLanes
    self.arena = arena
    stepCount = training.segment
    rows = (0..<training.accumulate).map { _ in Rows(laneCount: lanes.count, training, in: arena) }
    own = Rows(laneCount: ownLanes.count, training, in: arena)
  }

  /// The tokens of a segment that the rank reads.
  var ownInputs: Vector<Int32> { own.inputs }

  /// Reads the segments of a step, unless they are there already.
  package func read(_ wanted: Range<Int>, of data: TrainingData) throws {
    guard wanted != segments, !lanes.isEmpty else { return }
    precondition(wanted.count <= rows.count, "\(wanted.count) segments where there is room for \(rows.count)")
    segments = 0..<0
    for (segment, rows) in zip(wanted, rows) {
      try data.read(segment, lanes: lanes, inputs: rows.inputs, targets: rows.targets)
    }
    segments = wanted
  }

  /// Copies some of the lanes of a segment that has been read, time-major.
  func copy(_ segment: Int, lanes wanted: Range<Int>, inputs: Vector<Int32>, targets: Vector<Int32>) {
    precondition(segments.contains(segment), "segment \(segment) where \(segments) have been read")
    precondition(wanted.clamped(to: lanes) == wanted, "lanes \(wanted) of \(lanes)")
    let source = rows[segment - segments.lowerBound]
    let first = wanted.lowerBound - lanes.lowerBound
    for step in 0..<stepCount {
      let from = step * lanes.count + first
      let to = step * wanted.count
      (inputs.data + to).update(from: source.inputs.data + from, count: wanted.count)
      (targets.data + to).update(from: source.targets.data + from, count: wanted.count)
    }
  }

  /// A segment of the rank's own lanes, which has been read; the tokens stay valid until the next one is asked for.
  package func segment(_ index: Int, firstTime: Int, key: RandomKey) -> Segment {
    copy(index, lanes: ownLanes, inputs: own.inputs, targets: own.targets)
    return Segment(
      inputs: own.inputs, targets: own.targets, firstLane: ownLanes.lowerBound, firstTime: firstTime, key: key
    )
  }
}
