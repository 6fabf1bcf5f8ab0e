import Layers
import Tensors

/// A language model as layers over one list of parameters: one of the paper's three, or one that they are compared with;
/// it holds no weights.
///
/// `x = W[token]`; `zᵢₙ = x`, or `M(c', x)` with `c' = ReLU(W₄ h + b)`; `h = LSTM(zᵢₙ)`; `z = V h + b`,
/// or `M(c, h)` with `c = ReLU(W₃ h + b)`; `p = softmax(z·Wᵀ + b)` (Jayakumar et al., ICLR 2020).
package struct LanguageModel: Sendable {
  /// Sizes and variant.
  package let configuration: ModelConfiguration
  /// V.
  package let vocabularySize: Int
  /// Every tensor, in the order of the flat buffers.
  package let parameters: ParameterList

  /// Nil where the decoder has no parameters.
  let decoderRange: GradientRange?
  let embedding: Embedding
  let softmax: SoftmaxLoss
  let core: any SequenceCore
  let decoder: Decoder
  let inputDropout: Dropout
  let outputDropout: Dropout

  /// The maximum number of ranges in which the tied matrix's gradient is finished, and the minimum elements of each: finished
  /// ranges are exchanged while the softmax computes the rest.
  private static let tiedRanges = (count: 4, elementCount: 1 << 20)

  /// The model of a configuration over a vocabulary; `tiedRangeCount` is the number of ranges in which the tied matrix's gradient
  /// is finished (default: by its size).
  package init(_ configuration: ModelConfiguration, vocabularySize: Int, tiedRangeCount: Int? = nil) {
    self.configuration = configuration
    self.vocabularySize = vocabularySize
    var list = ParameterList()
    let width = configuration.embedding
    embedding = Embedding(
      vocabularySize: vocabularySize, width: width, initialization: configuration.embeddingInitialization,
      in: &list)
    let tied = embedding.weight
    let rangeCount = tiedRangeCount ?? min(Self.tiedRanges.count, tied.count / Self.tiedRanges.elementCount)
    softmax = SoftmaxLoss(embedding: tied, rangeCount: rangeCount, in: &list)
    let afterSoftmax = list.elementCount
    decoder = Decoder(configuration, in: &list)
    let afterDecoder = list.elementCount
    switch configuration.variant {
    case .lstm, .multdec, .multencdec: core = Recurrence(configuration, in: &list)
    case .txl, .txlMultdec, .txlMI: core = TransformerXL(configuration, in: &list)
    }
    inputDropout = Dropout(rate: configuration.inputDropout)
    outputDropout = Dropout(rate: configuration.outputDropout)
    parameters = list
    decoderRange =
      afterDecoder > afterSoftmax
      ? GradientRange(.decoder, name: "decoder", range: afterSoftmax..<afterDecoder) : nil
  }

  /// Ranges of the flat gradient in the order in which `backward` finishes them; they tile it.
  package var gradientRanges: [GradientRange] {
    softmax.gradientRanges + [decoderRange].compactMap { $0 } + core.gradientRanges
  }

  /// The matrix products of the layers, forward.
  package var products: [LayerProduct] { core.products + decoder.products + softmax.products }

  /// The number of multiplications in the matrix products of one token, forward.
  package var multiplicationsPerToken: Int { products.reduce(0) { $0 + $1.multiplicationsPerRow } }

  /// FLOPs of the matrix products of one token, forward: each multiplication has an addition.
  package var forwardFlopsPerToken: Int { 2 * multiplicationsPerToken }

  /// FLOPs of the matrix products of one token in a training step: the backward pass multiplies twice as often as the forward
  /// pass, for the gradients of inputs and weights.
  package var stepFlopsPerToken: Int { 3 * forwardFlopsPerToken }

  /// One of `count` shards of the tied matrix.
  package func vocabularyShard(index: Int, count: Int) -> RowShard {
    SoftmaxWorkspace.shard(of: vocabularySize, index: index, count: count)
  }

  /// The matrix that input and softmax share.
  package var tiedMatrix: Parameter { embedding.weight }
}
