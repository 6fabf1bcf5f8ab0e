/// A right-hand matrix packed for products: partitioned into blocks, each in the engine's preferred layout and precision.
///
/// Its source is one fp32 matrix, or several side by side, optionally transposed. The blocks, and so the products' results, do
/// not depend on the number of threads.
package final class PackedMatrix: Sendable {
  /// The number of rows: the inner dimension of a product.
  package let rowCount: Int
  /// The number of columns of a product's result.
  package let columnCount: Int
  /// The blocks of each range of columns.
  let panels: [Panel]
  private let memory: TemporaryMemory?

  /// A range of columns of one source.
  struct Panel: Sendable {
    let columns: Range<Int>
    var blocks: [PackedBlock]
  }

  /// The bytes of its blocks; 0 where products read the source.
  package let byteCount: Int

  /// Lays the blocks out in `memory`, which grows to what they need; nil: counts their bytes only.
  init(
    _ sources: [Matrix], transposed: Bool, panelWidth: Int? = nil, multiplier: any Multiplier,
    memory: TemporaryMemory?
  ) {
    let height = sources[0].rowCount
    let width = sources.reduce(0) { $0 + $1.columnCount }
    precondition(sources.allSatisfy { $0.rowCount == height }, "matrices of different heights side by side")
    rowCount = transposed ? width : height
    columnCount = transposed ? height : width
    var panels =
      transposed ? Self.panels(ofTransposed: sources, panelWidth) : Self.panels(of: sources, panelWidth)
    let byteCounts = panels.map { panel in
      panel.blocks.map {
        multiplier.packedByteCount(rowCount: $0.source.rowCount, columnCount: $0.source.columnCount)
      }
    }
    let total = byteCounts.reduce(0) { $1.reduce($0) { $0 + ($1 + 63) / 64 * 64 } }
    self.memory = memory
    byteCount = total
    if total > 0, let memory {
      var place = memory.memory(byteCount: total)
      for (panel, sizes) in byteCounts.enumerated() {
        for (block, size) in sizes.enumerated() {
          panels[panel].blocks[block].memory = place
          place += (size + 63) / 64 * 64
        }
      }
    }
    isPacked = total > 0
    self.panels = panels
  }

  /// Whether the blocks are packed; otherwise products read the source.
  let isPacked: Bool

  private static func panels(of sources: [Matrix], _ panelWidth: Int?) -> [Panel] {
    let height = sources[0].rowCount
    let width = sources.reduce(0) { $0 + $1.columnCount }
    var panels: [Panel] = []
    var place = 0
    for source in sources {
      let panelWidth = panelWidth ?? suitableWidth(depth: height, wholeWidth: width)
      for columns in spans(of: source.columnCount, panelWidth) {
        panels.append(
          Panel(
            columns: place + columns.lowerBound..<place + columns.upperBound,
            blocks: [PackedBlock(source: Operand(source.columns(columns)), rows: 0..<height)]))
      }
      place += source.columnCount
    }
    return panels
  }

  private static func panels(ofTransposed sources: [Matrix], _ panelWidth: Int?) -> [Panel] {
    let height = sources[0].rowCount
    let panelWidth = panelWidth ?? suitableWidth(depth: sources[0].columnCount, wholeWidth: height)
    return spans(of: height, panelWidth).map { rows in
      var place = 0
      let blocks = sources.map { source in
        defer { place += source.columnCount }
        return PackedBlock(
          source: Operand(source.rows(rows)).transposed, rows: place..<place + source.columnCount)
      }
      return Panel(columns: rows, blocks: blocks)
    }
  }

  private static func spans(of count: Int, _ width: Int) -> [Range<Int>] {
    stride(from: 0, to: count, by: width).map { $0..<min($0 + width, count) }
  }

  /// A multiple of 64 columns, so that a panel stays in a core's cache and a wide matrix has several panels.
  private static func suitableWidth(depth: Int, wholeWidth: Int) -> Int {
    let unit = 64
    let cached = max(1, (1 << 18) / (depth * unit))
    let shared = max(1, (wholeWidth + 4 * unit - 1) / (4 * unit))
    return unit * min(cached, shared, 8)
  }
}

/// A part of a packed matrix: the right-hand side of one library call.
///
/// Sendable because a view carries no ownership: its `PackedMatrix` owns the memory.
struct PackedBlock: @unchecked Sendable {
  /// The fp32 elements.
  let source: Operand
  /// Its rows of the whole matrix.
  let rows: Range<Int>
  /// The packed elements; nil where the library reads the source.
  var memory: UnsafeMutableRawPointer?
}
