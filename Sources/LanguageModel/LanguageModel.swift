import Layers
import Tensors

/// One of the paper's three language models, as layers over one list of parameters;
/// it holds no weights itself.
///
/// `x = W[word]`; `zᵢₙ = x`, or `M(c', x)` with `c' = ReLU(W₄ h + b)`; `h = LSTM(zᵢₙ)`; `z = V h + b`,
/// or `M(c, h)` with `c = ReLU(W₃ h + b)`; `p = softmax(z·Wᵀ + b)` (Jayakumar et al., ICLR 2020).
public struct LanguageModel: Sendable {
  /// Sizes and variant.
  public let configuration: ModelConfiguration
  /// V.
  public let vocabularySize: Int
  /// Every tensor, in the order of the flat buffers.
  public let parameters: ParameterList
  /// Ranges of the flat gradient in the order in which `backward` finishes them.
  public let gradientRanges: [GradientRange]

  let embedding: Embedding
  let softmax: SoftmaxLoss
  let recurrence: Recurrence
  let decoder: Decoder
  let inputDropout: Dropout
  let outputDropout: Dropout

  /// The model of a configuration over a vocabulary.
  public init(_ configuration: ModelConfiguration, vocabularySize: Int) {
    self.configuration = configuration
    self.vocabularySize = vocabularySize
    var list = ParameterList()
    let width = configuration.embedding
    embedding = Embedding(vocabularySize: vocabularySize, width: width, in: &list)
    softmax = SoftmaxLoss(embedding: embedding.weight, in: &list)
    let afterSoftmax = list.elementCount
    decoder = Decoder(configuration, in: &list)
    let afterDecoder = list.elementCount
    recurrence = Recurrence(configuration, in: &list)
    inputDropout = Dropout(rate: configuration.inputDropout)
    outputDropout = Dropout(rate: configuration.outputDropout)
    parameters = list
    let tied = embedding.weight
    gradientRanges = [
      GradientRange(name: tied.name, range: tied.offset..<softmax.bias.offset, rowLength: width),
      GradientRange(
        name: softmax.bias.name, range: softmax.bias.offset..<afterSoftmax, rowLength: nil),
      GradientRange(name: "decoder", range: afterSoftmax..<afterDecoder, rowLength: nil),
      GradientRange(name: "recurrence", range: afterDecoder..<list.elementCount, rowLength: nil),
    ]
  }

  /// How many multiplications the matrix products of one token take, forward.
  ///
  /// Every weight counts once, biases not at all. A training step takes three times as many, and as many additions.
  public var multiplicationsPerToken: Int {
    parameters.parameters.filter { $0.shape.count > 1 }.reduce(0) { $0 + $1.count }
  }

  /// Where the matrix that input and softmax share lies.
  public var tiedMatrix: Parameter { embedding.weight }
}

/// A stretch of the flat gradient that `backward` finishes at once.
public struct GradientRange: Sendable, Equatable {
  /// What it holds: a tensor's name, or a group's.
  public let name: String
  /// The elements of the flat gradient.
  public let range: Range<Int>
  /// The length of a row where rows differ in scale, as words do; nil where they do not.
  public let rowLength: Int?
}
