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

  /// The rows of the tied matrix, piece after piece.
  let tiedRanges: [GradientRange]
  let biasRange: GradientRange
  let decoderRange: GradientRange
  let embedding: Embedding
  let softmax: SoftmaxLoss
  let recurrence: Recurrence
  let decoder: Decoder
  let inputDropout: Dropout
  let outputDropout: Dropout

  /// The tied matrix's gradient is finished in so many pieces at most, each of which has at least so many elements: what
  /// is finished is exchanged while the rest of the softmax goes on.
  private static let tiedPieces = (count: 4, elementCount: 1 << 20)

  /// The model of a configuration over a vocabulary; `tiedPieceCount` says in how many pieces the tied matrix's gradient is
  /// finished, nil leaves it to its size.
  public init(_ configuration: ModelConfiguration, vocabularySize: Int, tiedPieceCount: Int? = nil) {
    self.configuration = configuration
    self.vocabularySize = vocabularySize
    var list = ParameterList()
    let width = configuration.embedding
    embedding = Embedding(vocabularySize: vocabularySize, width: width, in: &list)
    let tied = embedding.weight
    let pieceCount = tiedPieceCount ?? min(Self.tiedPieces.count, tied.count / Self.tiedPieces.elementCount)
    softmax = SoftmaxLoss(embedding: tied, pieceCount: pieceCount, in: &list)
    let afterSoftmax = list.elementCount
    decoder = Decoder(configuration, in: &list)
    let afterDecoder = list.elementCount
    recurrence = Recurrence(configuration, in: &list)
    inputDropout = Dropout(rate: configuration.inputDropout)
    outputDropout = Dropout(rate: configuration.outputDropout)
    parameters = list
    let (pieces, bias) = (softmax.pieces, softmax.bias)
    tiedRanges = pieces.enumerated().map { number, words in
      let isLast = number == pieces.count - 1
      // The last one takes along what lies between the matrix and the next tensor.
      let end = isLast ? bias.offset : tied.offset + words.upperBound * width
      let name = pieces.count == 1 ? tied.name : "\(tied.name) piece \(number + 1) of \(pieces.count)"
      return GradientRange(name: name, range: tied.offset + words.lowerBound * width..<end, rowLength: width)
    }
    biasRange = GradientRange(name: bias.name, range: bias.offset..<afterSoftmax, rowLength: nil)
    decoderRange = GradientRange(name: "decoder", range: afterSoftmax..<afterDecoder, rowLength: nil)
  }

  /// Ranges of the flat gradient in the order in which `backward` finishes them; they tile it.
  public var gradientRanges: [GradientRange] {
    tiedRanges + [biasRange, decoderRange] + recurrence.gradientRanges
  }

  /// How many multiplications the matrix products of one token take, forward.
  ///
  /// Every weight counts once, biases not at all. A training step takes three times as many, and as many additions.
  public var multiplicationsPerToken: Int {
    parameters.parameters.filter { $0.shape.count > 1 }.reduce(0) { $0 + $1.count }
  }

  /// The words of one of `count` ranks that share them out.
  public func words(index: Int, count: Int) -> RowShard {
    SoftmaxWorkspace.words(of: vocabularySize, index: index, count: count)
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
