import Layers
import Tensors

/// Recurrent state carried from one segment to the next: named matrices with a row for each lane.
///
/// The names are those of the tensors in `carry.safetensors`: `h` and `c` of an LSTM.
package struct CarriedState: Sendable {
  /// One of the matrices, lanes × width.
  package struct Part: Sendable {
    /// The name in a checkpoint.
    package let name: String
    /// Lanes × width.
    package let values: Matrix

    /// A matrix under its name.
    package init(_ name: String, _ values: Matrix) {
      self.name = name
      self.values = values
    }
  }

  /// All matrices, with equally many rows.
  package let parts: [Part]

  /// The state that consists of these matrices.
  package init(_ parts: [Part]) { self.parts = parts }

  /// Memory for the same state of `laneCount` lanes, all zero.
  package init(like other: CarriedState, laneCount: Int, in arena: Arena) {
    parts = other.parts.map { part in
      Part(part.name, arena.matrix(rowCount: laneCount, columnCount: part.values.columnCount))
    }
  }

  /// The matrix of a name; nil where the state has none.
  package subscript(name: String) -> Matrix? { parts.first { $0.name == name }?.values }

  /// Sets everything to zero, as at the start of an epoch or of a text.
  package func reset() {
    for part in parts { part.values.fill(0) }
  }

  /// Copies a state of the same matrices and as many lanes.
  package func copy(from other: CarriedState) {
    precondition(parts.map(\.name) == other.parts.map(\.name), "states of the same model")
    for (own, source) in zip(parts, other.parts) { own.values.copy(from: source.values) }
  }

  /// The view of some lanes.
  package func lanes(_ range: Range<Int>) -> CarriedState {
    CarriedState(parts.map { Part($0.name, $0.values.rows(range)) })
  }
}
