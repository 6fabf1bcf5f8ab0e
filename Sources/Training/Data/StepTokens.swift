import Corpus
import Tensors

/// The tokens of one step's segments in some lanes, read from the file before the step begins.
///
/// `@unchecked Sendable`: used by one thread at a time.
final class StepTokens: @unchecked Sendable {
  private struct Rows {
    let inputs: Vector<Int32>
    let targets: Vector<Int32>
  }

  private let tokens: any TokenSequence
  private let lanes: Lanes
  private var ownLanes = 0..<0
  private var segments = 0..<0
  private var rows: [Rows] = []
  private var arena = Arena()

  init(_ tokens: any TokenSequence, _ lanes: Lanes) {
    self.tokens = tokens
    self.lanes = lanes
  }

  /// Reads segments, unless they are there already.
  func read(_ wanted: Range<Int>, lanes wantedLanes: Range<Int>) throws {
    guard wanted != segments || wantedLanes != ownLanes else { return }
    makeRoom(segmentCount: wanted.count, lanes: wantedLanes)
    segments = 0..<0
    for (segment, rows) in zip(wanted, rows) {
      try lanes.read(
        segmentIndex: segment, lanes: wantedLanes, from: tokens, inputs: rows.inputs.buffer,
        targets: rows.targets.buffer)
    }
    segments = wanted
  }

  /// Copies some lanes of a segment, time-major; reads it if it is not there.
  func copy(_ segment: Int, lanes wanted: Range<Int>, inputs: Vector<Int32>, targets: Vector<Int32>) throws {
    if !segments.contains(segment) || wanted.clamped(to: ownLanes) != wanted {
      try read(segment..<segment + 1, lanes: wanted)
    }
    let source = rows[segment - segments.lowerBound]
    let first = wanted.lowerBound - ownLanes.lowerBound
    for step in 0..<lanes.segmentLength {
      let from = step * ownLanes.count + first
      let to = step * wanted.count
      (inputs.data + to).update(from: source.inputs.data + from, count: wanted.count)
      (targets.data + to).update(from: source.targets.data + from, count: wanted.count)
    }
  }

  /// Allocates before the first step; later ones have the same shape.
  private func makeRoom(segmentCount: Int, lanes wanted: Range<Int>) {
    guard rows.count < segmentCount || wanted.count != ownLanes.count else {
      ownLanes = wanted
      return
    }
    arena = Arena()
    ownLanes = wanted
    let count = wanted.count * lanes.segmentLength
    rows = (0..<segmentCount).map { _ in
      Rows(
        inputs: arena.vector(of: Int32.self, count: count),
        targets: arena.vector(of: Int32.self, count: count))
    }
  }
}
