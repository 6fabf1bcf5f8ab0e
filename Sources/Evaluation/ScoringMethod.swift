import Communication
import LanguageModel
import Platform
import Tensors

/// How a text is scored; by default as one stream by the model alone.
public struct ScoringMethod: Sendable, Equatable {
  /// How the text is divided.
  public enum Reading: Sendable, Equatable {
    /// Contiguous streams of near equal length, the state carried along each from zero.
    case streams(Int)
    /// Non-overlapping windows of so many tokens, the state zero at the start of each.
    case windows(Int)
  }

  /// Dynamic evaluation: gradient descent on what has been scored.
  public struct Dynamic: Sendable, Equatable, Encodable {
    /// The learning rate of a segment's step.
    public var rate: Double
    /// Tokens per segment.
    public var segment: Int

    /// A step of `rate` after every `segment` tokens.
    public init(rate: Double, segment: Int) {
      self.rate = rate
      self.segment = segment
    }
  }

  /// How the text is divided.
  public var reading: Reading
  /// A neural cache whose probabilities are interpolated with the model's.
  public var cache: NeuralCache.Settings?
  /// Dynamic evaluation; nil for fixed weights.
  public var dynamic: Dynamic?

  /// The model alone, by default on one stream.
  public init(reading: Reading = .streams(1)) {
    self.reading = reading
  }

  /// Throws where the parts exclude each other, or something else that is asked for.
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
