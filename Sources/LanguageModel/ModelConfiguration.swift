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
    /// Transformer-XL.
    case txl
    /// Transformer-XL and a multiplicative decoder.
    case txlMultdec = "txl-multdec"
    /// Transformer-XL whose residual sums around attention are multiplicative interactions.
    case txlMI = "txl-mi"
  }

  /// Which parts the model has.
  package var variant = Variant.multencdec
  /// E.
  package var embedding = 256
  /// H of an LSTM.
  package var hidden = 2048
  /// The number of a Transformer's layers.
  package var layers = 16
  /// d, the width of a Transformer's rows.
  package var width = 410
  /// The number of attention heads; each is width / heads wide.
  package var heads = 10
  /// The width of a Transformer's feed-forward blocks.
  package var inner = 2100
  /// M, the number of earlier tokens that a Transformer attends to beside its segment's.
  package var memory = 150
  /// The largest distance with a position of its own; 0: all have one.
  package var clamp = 0
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

  /// The fraction dropped after attention and within and after feed-forward blocks.
  package var hiddenDropout = 0.1
  /// The fraction of attention probabilities that are dropped.
  package var attentionDropout = 0.0

  /// The width of the rows that the decoder reads.
  package var coreWidth: Int {
    switch variant {
    case .lstm, .multdec, .multencdec: hidden
    case .txl, .txlMultdec, .txlMI: width
    }
  }

  /// Why there is no such model; nil where there is one.
  package var reasonAgainst: String? {
    guard [.txl, .txlMultdec, .txlMI].contains(variant) else { return nil }
    guard width % 2 == 0, width % heads == 0 else {
      return "model.width: expected an even number, a multiple of model.heads (\(heads)), found \(width)"
    }
    return nil
  }

  /// The start of the embedding where it is not the default.
  var embeddingInitialization: Parameter.Initialization? {
    switch variant {
    case .lstm, .multdec, .multencdec: nil
    case .txl, .txlMultdec, .txlMI: .normal(mean: 0, deviation: 0.02)
    }
  }

  /// The defaults: the paper's LSTM + MultEncDec, and the base of the Transformer-XL.
  package init() {}
}
