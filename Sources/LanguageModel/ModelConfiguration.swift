import Layers

/// The sizes and the variant of a language model; the vocabulary comes from the corpus.
package struct ModelConfiguration: Sendable, Equatable {
  /// Which parts the model has.
  package enum Variant: String, CaseIterable, Sendable, Codable {
    /// LSTM and a projection.
    case lstm
    /// LSTM and a multiplicative decoder.
    case multdec
    /// Multiplicative encoder, LSTM and multiplicative decoder.
    case multencdec
  }

  /// Which parts the model has.
  package var variant = Variant.multencdec
  /// E.
  package var embedding = 256
  /// H.
  package var hidden = 2048
  /// K of the decoder.
  package var decoderContext = 32
  /// K of the encoder.
  package var encoderContext = 72
  /// The form of the interactions' `W`.
  package var form = InteractionKind.full
  /// R of the low-rank form.
  package var rank = 64
  /// The fraction of the embedding's elements dropped before the encoder.
  package var inputDropout = 0.1
  /// The fraction of z's elements dropped before the softmax.
  package var outputDropout = 0.2

  /// The defaults: the paper's LSTM + MultEncDec.
  package init() {}
}
