import Layers
import Tensors

/// State carried from one segment to the next: named rows for every lane.
///
/// The names are those of the tensors in `carry.safetensors`: `h` and `c` of an LSTM. Most models carry one row of a kind, as an
/// LSTM its h; others the last n, as a Transformer its layers' inputs.
package struct CarriedState: Sendable {
  /// The last rows of one kind.
  package struct Part: Sendable {
    /// The name in a checkpoint.
    package let name: String
    /// The rows of all lanes at one place in time, oldest first: each lanes × width.
    package let slots: [Matrix]

    /// One row for each lane, lanes × width.
    package init(_ name: String, _ values: Matrix) {
      self.init(name, slots: [values])
    }

    /// `slotCount` rows for each lane, time-major: slotCount·lanes × width.
    package init(_ name: String, _ values: Matrix, slotCount: Int) {
      precondition(values.rowCount % slotCount == 0, "equally many rows in each of \(slotCount) slots")
      let laneCount = values.rowCount / slotCount
      self.init(
        name, slots: (0..<slotCount).map { values.rows($0 * laneCount..<($0 + 1) * laneCount) })
    }

    init(_ name: String, slots: [Matrix]) {
      self.name = name
      self.slots = slots
    }

    /// Memory of its own for the same rows, all zero.
    package init(like other: Part, laneCount: Int? = nil, in arena: Arena) {
      let (slotCount, first) = (other.slots.count, other.slots[0])
      self.init(
        other.name,
        arena.matrix(rowCount: slotCount * (laneCount ?? first.rowCount), columnCount: first.columnCount),
        slotCount: slotCount)
    }

    /// The view of some lanes.
    package func lanes(_ range: Range<Int>) -> Part { Part(name, slots: slots.map { $0.rows(range) }) }

    /// Copies as many rows, the oldest first.
    package func copy(from other: Part) {
      for (slot, values) in zip(slots, other.slots) { slot.copy(from: values) }
    }

    /// Lanes × width of one slot, slots × lanes × width of several.
    package var shape: [Int] {
      let (laneCount, width) = (slots[0].rowCount, slots[0].columnCount)
      return slots.count == 1 ? [laneCount, width] : [slots.count, laneCount, width]
    }

    /// All slots as one matrix; not of a view of some lanes, where their rows do not adjoin.
    package var values: Matrix {
      let first = slots[0]
      precondition(
        first.isContiguous
          && slots.enumerated().allSatisfy { $1.data == first.data + $0 * first.count }, "adjoining slots")
      return Matrix(
        first.data, rowCount: slots.count * first.rowCount, columnCount: first.columnCount)
    }
  }

  /// All parts, with equally many lanes.
  package let parts: [Part]

  /// The state that consists of these parts.
  package init(_ parts: [Part]) { self.parts = parts }

  /// Memory for the same state of `laneCount` lanes, all zero.
  package init(like other: CarriedState, laneCount: Int, in arena: Arena) {
    parts = other.parts.map { Part(like: $0, laneCount: laneCount, in: arena) }
  }

  /// The rows of a name, all slots; nil where the state has none.
  package subscript(name: String) -> Matrix? { parts.first { $0.name == name }?.values }

  /// Sets everything to zero, as at the start of an epoch or of a text.
  package func reset() {
    for slot in parts.flatMap(\.slots) { slot.fill(0) }
  }

  /// Copies a state of the same parts and as many lanes, the oldest rows first: `other` may overlap where its rows are later.
  package func copy(from other: CarriedState) {
    precondition(parts.map(\.name) == other.parts.map(\.name), "states of the same model")
    for (own, source) in zip(parts, other.parts) { own.copy(from: source) }
  }

  /// The view of some lanes.
  package func lanes(_ range: Range<Int>) -> CarriedState {
    CarriedState(parts.map { $0.lanes(range) })
  }
}
