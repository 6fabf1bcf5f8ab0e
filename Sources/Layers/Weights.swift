import Tensors

/// Parameters as operands of products: rounded and packed once, and reused until they change.
///
/// `@unchecked Sendable`: one thread at a time uses it, like the pass that it belongs to.
package final class Weights: @unchecked Sendable {
  /// The fp32 values.
  package let values: ParameterBuffer
  /// Rounds and packs them.
  let engine: ComputeEngine
  private var packed: [Form: Held<PackedMatrix>] = [:]
  private var rounded: [Int: Held<OperandMemory>] = [:]
  private var generation = 0

  /// Tensors side by side are identified by the first and the last.
  private struct Form: Hashable {
    let first: Int
    let last: Int
    let transposed: Bool
    let panelWidth: Int?
  }

  private struct Held<Value> {
    let value: Value
    var generation: Int
  }

  /// Reads `values`; nothing is packed yet.
  package init(_ values: ParameterBuffer, engine: ComputeEngine) {
    self.values = values
    self.engine = engine
  }

  /// The bytes of the packed and rounded tensors so far.
  package var byteCount: Int {
    packed.values.reduce(0) { $0 + $1.value.byteCount } + rounded.values.reduce(0) { $0 + $1.value.byteCount }
  }

  /// The bytes of a tensor that products read both as it is and transposed.
  package func packedByteCount(_ parameter: Parameter) -> Int {
    [false, true].reduce(0) {
      $0 + engine.packedByteCount(values.matrices(of: parameter), transposed: $1)
    }
  }

  /// Marks the values as changed: each tensor is packed again at its next use.
  package func refresh() { generation += 1 }

  /// A tensor's values as a matrix.
  package subscript(parameter: Parameter) -> Matrix { values[parameter] }

  /// A tensor on the right of a product.
  package func right(_ parameters: Parameter...) -> PackedMatrix { form(parameters, transposed: false) }

  /// The transpose of a tensor on the right of a product.
  ///
  /// Several tensors stand side by side before they are transposed; one of three dimensions counts as its matrices.
  package func right(transposed parameters: Parameter...) -> PackedMatrix {
    form(parameters, transposed: true)
  }

  /// The transpose of a matrix on the right of products, in panels of this many columns.
  package func right(transposed parameter: Parameter, panelWidth: Int) -> PackedMatrix {
    form([parameter], transposed: true, panelWidth: panelWidth)
  }

  /// A tensor in the engine's precision, in rows; with a shard only its rows, and no others may be read.
  ///
  /// A tensor always has the same shard.
  package func rounded(_ parameter: Parameter, _ shard: RowShard? = nil) -> Operand {
    let held = rounded[parameter.offset]
    let memory = held?.value ?? engine.operandMemory(elementCount: parameter.count)
    guard held?.generation != generation else { return memory.operand(of: values[parameter]) }
    rounded[parameter.offset] = Held(value: memory, generation: generation)
    guard let shard else { return engine.rounded(values[parameter], in: memory) }
    return engine.rounded(values[parameter], shard, in: memory)
  }

  private func form(_ parameters: [Parameter], transposed: Bool, panelWidth: Int? = nil) -> PackedMatrix {
    let form = Form(
      first: parameters[0].offset, last: parameters[parameters.count - 1].offset, transposed: transposed,
      panelWidth: panelWidth)
    if let held = packed[form], held.generation == generation { return held.value }
    let matrix =
      packed[form]?.value
      ?? engine.packedMatrix(
        parameters.flatMap(values.matrices(of:)), transposed: transposed, panelWidth: panelWidth)
    engine.pack(matrix)
    packed[form] = Held(value: matrix, generation: generation)
    return matrix
  }
}
