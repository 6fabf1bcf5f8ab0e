import Tensors

/// A matrix product of a layer's forward pass: rows × depth times depth × columns.
///
/// Layers state their products; FLOPs and benchmarks follow from them. The backward pass has two of the same size.
package struct LayerProduct: Sendable, Equatable {
  /// The tensors that it multiplies with.
  package let name: String
  /// The width of the input.
  package let depth: Int
  /// The width of the output.
  package let columns: Int
  /// How many columns are computed at once, all of them unless the layer computes blocks.
  package let blockLength: Int
  /// Whether it runs once per time step, and not once for all rows of a segment.
  package private(set) var isPerStep = false

  /// A product with these tensors.
  init(_ name: String, depth: Int, columns: Int, blockLength: Int? = nil) {
    self.name = name
    self.depth = depth
    self.columns = columns
    self.blockLength = min(blockLength ?? columns, columns)
  }

  /// A product with a tensor stored input-first.
  init(_ weight: Parameter) {
    self.init(weight.name, depth: weight.rowCount, columns: weight.columnCount)
  }

  /// A product with a tensor stored output-first.
  init(transposed weight: Parameter, blockLength: Int? = nil) {
    self.init(
      weight.name, depth: weight.columnCount, columns: weight.rowCount, blockLength: blockLength)
  }

  /// The same product within a recurrence.
  package var perStep: LayerProduct {
    var product = self
    product.isPerStep = true
    return product
  }

  package var multiplicationsPerRow: Int { depth * columns }
}
