import CKernels
import Platform
import Tensors

/// One tensor of the model: its name in a checkpoint, its shape, where it lies in the flat buffers,
/// how it starts and learns.
public struct Parameter: Sendable, Equatable {
  /// What a tensor starts as.
  public enum Initialization: Sendable, Equatable {
    /// All zero.
    case zero
    /// Uniform in (−limit, limit).
    case uniform(limit: Float)
  }

  /// The name in `model.safetensors`.
  public let name: String
  /// The shape, row-major, of one to three dimensions.
  public let shape: [Int]
  /// The index of its first element in every flat buffer.
  public let offset: Int
  /// What it starts as.
  public let initialization: Initialization
  /// What the common learning rate is multiplied with for this tensor.
  public let learningRateScale: Float
  /// Whether weight decay applies.
  public let decays: Bool
  /// How many elements belong to each word of the vocabulary, word after word; nil where they belong to none.
  public let elementsPerToken: Int?

  /// How many elements it has.
  public var count: Int { shape.reduce(1, *) }
  /// Its elements in every flat buffer.
  public var range: Range<Int> { offset..<offset + count }
  /// Rows when seen as a matrix: all dimensions but the last, 1 for a vector.
  public var rowCount: Int { shape.dropLast().reduce(1, *) }
  /// Columns when seen as a matrix: the last dimension.
  public var columnCount: Int { shape[shape.count - 1] }
}

/// The one list of a model's tensors, from which checkpoint, clipping, weight decay,
/// exchange and `inspect` read.
public struct ParameterList: Sendable {
  /// Tensors start at multiples of 16 elements: a cache line.
  private static let alignment = 16

  /// The tensors in the order of their places.
  public private(set) var parameters: [Parameter] = []

  /// An empty list.
  public init() {}

  /// How long a flat buffer is, padding between tensors included.
  public private(set) var elementCount = 0

  /// How many numbers the model has, padding left out.
  public var parameterCount: Int { parameters.reduce(0) { $0 + $1.count } }

  /// Gives the next place to a tensor.
  public mutating func add(
    _ name: String, shape: [Int], initialization: Parameter.Initialization, learningRateScale: Float = 1,
    decays: Bool = true, elementsPerToken: Int? = nil
  ) -> Parameter {
    precondition(!shape.isEmpty && shape.allSatisfy { $0 > 0 }, "\(name) of shape \(shape)")
    precondition(!parameters.contains { $0.name == name }, "two tensors named \(name)")
    let parameter = Parameter(
      name: name, shape: shape, offset: elementCount, initialization: initialization,
      learningRateScale: learningRateScale, decays: decays, elementsPerToken: elementsPerToken)
    parameters.append(parameter)
    elementCount = (parameter.range.upperBound + Self.alignment - 1) / Self.alignment * Self.alignment
    return parameter
  }
}

/// A flat buffer laid out by a `ParameterList`: the parameters, their gradients,
/// or one of the optimizer's moments.
public final class ParameterBuffer: Sendable {
  /// The layout.
  public let list: ParameterList
  /// All elements, padding included; the padding stays zero.
  public let flat: Matrix
  private let arena: Arena

  /// A buffer of zeros, in an arena that it keeps alive.
  public init(_ list: ParameterList, in arena: Arena = Arena()) {
    self.list = list
    self.arena = arena
    flat = arena.matrix(rowCount: 1, columnCount: list.elementCount)
  }

  /// A tensor as a matrix; one of three dimensions has the first two as rows.
  public subscript(parameter: Parameter) -> Matrix {
    Matrix(
      flat.data + parameter.offset, rowCount: parameter.rowCount, columnCount: parameter.columnCount)
  }

  /// The matrices that a tensor of three dimensions consists of; the tensor itself where it has fewer.
  public func slices(of parameter: Parameter) -> [Matrix] {
    guard parameter.shape.count == 3 else { return [self[parameter]] }
    let height = parameter.shape[1]
    return (0..<parameter.shape[0]).map { self[parameter].rows($0 * height..<($0 + 1) * height) }
  }

  /// XXH64 of a tensor's bytes: equal where two buffers are equal bit for bit.
  public func hash(of parameter: Parameter) -> UInt64 {
    XXH64.hash(
      UnsafeRawBufferPointer(
        start: flat.data + parameter.offset, count: parameter.count * MemoryLayout<Float>.stride))
  }

  /// Sets every element to zero.
  public func clear(engine: ComputeEngine) { clear(ParameterShard(all: list), engine: engine) }

  /// Has the kernel give the memory of a buffer that is still zero, so that the first copy into it takes no longer than others.
  public func touch() { flat.fill(0) }

  /// Takes over the elements of a buffer of the same layout.
  public func copy(from source: ParameterBuffer, engine: ComputeEngine) {
    copy(ParameterShard(all: list), from: source, engine: engine)
  }

  /// Takes over the elements of a buffer of the same layout, on the calling thread alone.
  public func copy(from source: ParameterBuffer) {
    copy(0..<flat.columnCount, from: source)
  }

  func copy(_ range: Range<Int>, from source: ParameterBuffer) {
    precondition(source.flat.columnCount == flat.columnCount, "buffers of two layouts")
    CKernels_copy(source.flat.data + range.lowerBound, flat.data + range.lowerBound, range.count)
  }

  /// Sets every tensor to its initial value, which depends on the seed and the tensor's name alone.
  public func initialize(seed: UInt64, engine: ComputeEngine) {
    let key = RandomKey(seed: seed).derived("weights")
    for parameter in list.parameters {
      switch parameter.initialization {
      case .zero:
        self[parameter].fill(0)
      case .uniform(let limit):
        engine.fillUniformly(
          flat.data + parameter.offset, count: parameter.count, limit: limit, key: key.derived(parameter.name)
        )
      }
    }
  }
}
