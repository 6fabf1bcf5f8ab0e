import CKernels
import Platform
import Tensors

/// One tensor of the model: its name in a checkpoint, shape, offset in the flat buffers, initialization and learning rate scale.
package struct Parameter: Sendable, Equatable {
  /// The initial value of a tensor.
  package enum Initialization: Sendable, Equatable {
    case zero
    /// Uniform in (−limit, limit), by the seed and the tensor's name.
    case uniform(limit: Float)
    /// Approximately normal.
    case normal(mean: Float, deviation: Float)
  }

  /// The name in `model.safetensors`.
  package let name: String
  /// The shape, row-major, of one to three dimensions.
  package let shape: [Int]
  /// The index of its first element in every flat buffer.
  package let offset: Int
  /// The initial value.
  package let initialization: Initialization
  /// The factor of the common learning rate for this tensor.
  package let learningRateScale: Float
  /// Whether weight decay applies.
  package let decays: Bool
  /// The number of elements per token of the vocabulary; nil where the tensor has no rows for tokens.
  package let elementsPerToken: Int?

  package var count: Int { shape.reduce(1, *) }
  /// Its elements in every flat buffer.
  package var range: Range<Int> { offset..<offset + count }
  /// Rows when seen as a matrix: all dimensions but the last, 1 for a vector.
  package var rowCount: Int { shape.dropLast().reduce(1, *) }
  /// Columns when seen as a matrix: the last dimension.
  package var columnCount: Int { shape[shape.count - 1] }
}

/// The list of a model's tensors, which checkpoint, clipping, weight decay, exchange and `inspect` read.
package struct ParameterList: Sendable {
  /// Tensors start at multiples of 16 elements: a cache line.
  private static let alignment = 16

  /// The tensors in the order of their offsets.
  package private(set) var parameters: [Parameter] = []

  /// An empty list.
  package init() {}

  /// The number of elements of a flat buffer, including padding between tensors.
  package private(set) var elementCount = 0

  /// The number of parameters, without padding.
  package var parameterCount: Int { parameters.reduce(0) { $0 + $1.count } }

  /// Appends a tensor.
  package mutating func add(
    _ name: String, shape: [Int], initialization: Parameter.Initialization, learningRateScale: Float = 1,
    decays: Bool = true, elementsPerToken: Int? = nil
  ) -> Parameter {
    precondition(!shape.isEmpty && shape.allSatisfy { $0 > 0 }, "\(name) of shape \(shape)")
    precondition(!parameters.contains { $0.name == name }, "a unique tensor name, not a second \(name)")
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
package final class ParameterBuffer: Sendable {
  /// The layout.
  package let list: ParameterList
  /// All elements, including padding, which stays zero.
  package let flat: Matrix
  private let arena: Arena

  /// A buffer of zeros, in an arena that it keeps alive.
  package init(_ list: ParameterList, in arena: Arena = Arena()) {
    self.list = list
    self.arena = arena
    flat = arena.matrix(rowCount: 1, columnCount: list.elementCount)
  }

  /// A tensor as a matrix; one of three dimensions has the first two as rows.
  package subscript(parameter: Parameter) -> Matrix {
    Matrix(
      flat.data + parameter.offset, rowCount: parameter.rowCount, columnCount: parameter.columnCount)
  }

  /// The matrices of a tensor of three dimensions; the tensor itself where it has fewer.
  package func matrices(of parameter: Parameter) -> [Matrix] {
    guard parameter.shape.count == 3 else { return [self[parameter]] }
    let height = parameter.shape[1]
    return (0..<parameter.shape[0]).map { self[parameter].rows($0 * height..<($0 + 1) * height) }
  }

  /// XXH64 of a tensor's bytes: equal where two buffers are equal bit for bit.
  package func hash(of parameter: Parameter) -> UInt64 {
    XXH64.hash(
      UnsafeRawBufferPointer(
        start: flat.data + parameter.offset, count: parameter.count * MemoryLayout<Float>.stride))
  }

  /// Whether no element of a tensor is infinite or not a number.
  package func isFinite(_ parameter: Parameter) -> Bool {
    UnsafeBufferPointer(start: flat.data + parameter.offset, count: parameter.count).allSatisfy(\.isFinite)
  }

  /// Sets every element to zero.
  package func clear(engine: ComputeEngine) { clear(ParameterShard(all: list), engine: engine) }

  /// Maps the pages of a buffer that is still zero, so that the first copy into it is as fast as later ones.
  package func touch() { flat.fill(0) }

  /// Copies the elements of a buffer of the same layout.
  package func copy(from source: ParameterBuffer, engine: ComputeEngine) {
    copy(ParameterShard(all: list), from: source, engine: engine)
  }

  /// Copies the elements of a buffer of the same layout, on the calling thread alone.
  package func copy(from source: ParameterBuffer) {
    copy(0..<flat.columnCount, from: source)
  }

  func copy(_ range: Range<Int>, from source: ParameterBuffer) {
    precondition(source.flat.columnCount == flat.columnCount, "buffers of the same layout")
    CKernels_copy(source.flat.data + range.lowerBound, flat.data + range.lowerBound, range.count)
  }

  /// Sets every tensor to its initial value, which depends on the seed and the tensor's name alone.
  package func initialize(seed: UInt64, engine: ComputeEngine) {
    let key = RandomKey(seed: seed).derived("weights")
    for parameter in list.parameters {
      switch parameter.initialization {
      case .zero:
        self[parameter].fill(0)
      case .uniform(let limit):
        engine.fillUniformly(
          flat.data + parameter.offset, count: parameter.count, limit: limit, key: key.derived(parameter.name)
        )
      case .normal(let mean, let deviation):
        engine.fillNormally(
          flat.data + parameter.offset, count: parameter.count, mean: mean, deviation: deviation,
          key: key.derived(parameter.name))
      }
    }
  }
}
