import Communication
import LanguageModel
import Platform
import Tensors

/// How a text is scored: as one stream by the model alone, unless something else is said.
public struct ScoringMethod: Sendable, Equatable {
  /// How the text is cut.
  public enum Reading: Sendable, Equatable {
    /// Contiguous streams of near equal length, the state carried along each from zero.
    case streams(Int)
    /// Windows of so many tokens that do not overlap, the state zero at the start of each.
    case windows(Int)
  }

  /// Dynamic evaluation: the model learns from what it has scored.
  public struct Dynamic: Sendable, Equatable, Encodable {
    /// The learning rate of a segment's step.
    public var rate: Double
    /// How many tokens a segment has.
    public var segment: Int

    /// Steps of `rate` after every `segment` tokens.
    public init(rate: Double, segment: Int) {
      self.rate = rate
      self.segment = segment
    }
  }

  /// How the text is cut.
  public var reading: Reading
  /// A cache whose probabilities are mixed with the model's.
  public var cache: NeuralCache.Settings?
  /// What the model learns on the way.
  public var dynamic: Dynamic?

  /// The model alone, on one stream unless something else is said.
  public init(reading: Reading = .streams(1)) {
    self.reading = reading
  }

  /// Throws where the parts exclude each other, or what else is asked for.
  func check(rankCount: Int, precision: Precision, listsTokens: Bool) throws {
    if cache != nil || dynamic != nil, reading != .streams(1) {
      throw MilmError("expected one stream for a cache or a model that learns, found \(reading)")
    }
    if cache != nil, precision != .float32 {
      throw MilmError("expected float32 for a neural cache, found \(precision.rawValue)")
    }
    if case .streams(let count) = reading, count > 1, listsTokens {
      throw MilmError("expected one stream for a list of tokens in their order, found \(count)")
    }
    if dynamic != nil, rankCount > 1 {
      throw MilmError("expected one rank for a model that learns on the way, found \(rankCount)")
    }
  }
}
