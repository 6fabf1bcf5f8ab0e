import Layers

/// The sizes and the variant of a language model; the vocabulary comes from the corpus.
public struct ModelConfiguration: Sendable, Equatable {
  /// Which parts the model has.
  public enum Variant: String, CaseIterable, Sendable, Codable {
    /// LSTM and a projection.
    case lstm
    /// LSTM and a multiplicative decoder.
    case multdec
    /// Multiplicative encoder, LSTM and multiplicative decoder.
    case multencdec
  }

  /// Which parts the model has.
  public var variant = Variant.multencdec
  /// E.
  public var embedding = 256
  /// H.
  public var hidden = 2048
  /// K of the decoder.
  public var decoderContext = 32
  /// K of the encoder.
  public var encoderContext = 72
  /// The form of the interactions' `W`.
  public var form = InteractionKind.full
  /// R of the low-rank form.
  public var rank = 64
  /// The fraction of the embedding's elements dropped before the encoder.
  public var inputDropout = 0.1
  /// The fraction of z's elements dropped before the softmax.
  public var outputDropout = 0.2

  /// The defaults: the paper's LSTM + MultEncDec.
  public init() {}
}
