import Tensors

/// A range of the flat gradient that the backward pass finishes at once.
package struct GradientRange: Sendable, Equatable {
  /// The part of the model that a range belongs to.
  package enum Part: Sendable {
    /// Rows of the tied matrix.
    case tiedMatrix
    /// The softmax's bias.
    case softmaxBias
    case decoder
    /// The recurrent layers and what is below them.
    case recurrence
  }

  /// The part of the model.
  package let part: Part
  /// The name of a tensor or of a group, for display.
  package let name: String
  /// The elements of the flat gradient.
  package let range: Range<Int>
  /// The length of a row where rows differ in scale, as those of an embedding do; nil elsewhere.
  package let rowLength: Int?

  /// A range under its name.
  package init(_ part: Part, name: String, range: Range<Int>, rowLength: Int? = nil) {
    self.part = part
    self.name = name
    self.range = range
    self.rowLength = rowLength
  }
}

/// Receives the parts of a step's gradient as backward finishes them, in the same order on all ranks.
///
/// Exchange, trace and fault injection are nested sinks.
package protocol GradientSink: AnyObject {
  /// A range of the flat gradient holds its final value for this step, except for rows that follow.
  func finish(_ range: GradientRange) throws

  /// Gradient rows of the input side of the tied matrix: distinct tokens, ascending, and a row for each.
  ///
  /// They are not part of the flat gradient yet; the last sink adds them to it.
  func finish(rows: Matrix, of tokens: Vector<Int32>) throws
}

/// The sink of a single process: adds the rows of the tied matrix to its gradient.
package final class LocalGradientSink: GradientSink {
  private let matrix: Matrix
  private let engine: ComputeEngine

  /// Adds rows to the gradient of the tied matrix.
  package init(adding matrix: Matrix, engine: ComputeEngine) {
    self.matrix = matrix
    self.engine = engine
  }

  /// Does nothing: the range is final.
  package func finish(_ range: GradientRange) {}

  /// Adds each row to that of its token.
  package func finish(rows: Matrix, of tokens: Vector<Int32>) {
    for index in 0..<tokens.count {
      let token = Int(tokens[index])
      engine.add(rows.rows(index..<index + 1), to: matrix.rows(token..<token + 1))
    }
  }
}
