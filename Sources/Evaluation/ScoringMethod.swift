import Communication
import LanguageModel
import Platform
import Tensors

/// How a text is scored; by default as one stream by the model alone.
package struct ScoringMethod: Sendable, Equatable {
  /// How the text is divided.
  package enum Reading: Sendable, Equatable {
    /// Contiguous streams of near equal length, the state carried along each from zero.
    case streams(Int)
    /// Non-overlapping windows of so many tokens, the state zero at the start of each.
    case windows(Int)
  }

  /// Dynamic evaluation: gradient descent on what has been scored.
  package struct Dynamic: Sendable, Equatable, Encodable {
    /// The learning rate of a segment's step.
    package var rate: Double
    /// Tokens per segment.
    package var segment: Int

    /// A step of `rate` after every `segment` tokens.
    package init(rate: Double, segment: Int) {
      self.rate = rate
      self.segment = segment
    }
  }

  /// How the text is divided.
  package var reading: Reading
  /// A neural cache whose probabilities are interpolated with the model's.
  package var cache: NeuralCache.Settings?
  /// Dynamic evaluation; nil for fixed weights.
  package var dynamic: Dynamic?

  /// The model alone, by default on one stream.
  package init(reading: Reading = .streams(1)) {
    self.reading = reading
  }

  /// Throws where options exclude each other.
  func check(rankCount: Int, precision: Precision, listsTokens: Bool) throws {
    if cache != nil || dynamic != nil, reading != .streams(1) {
      throw MilmError("a cache or dynamic evaluation: expected one stream, found \(reading)")
    }
    if cache != nil, precision != .float32 {
      throw MilmError("a neural cache: expected float32, found \(precision.rawValue)")
    }
    if case .streams(let count) = reading, count > 1, listsTokens {
      throw MilmError("losses by token: expected one stream, in the text's order, found \(count)")
    }
    if dynamic != nil, rankCount > 1 {
      throw MilmError("dynamic evaluation: expected one rank, found \(rankCount)")
    }
  }
}
