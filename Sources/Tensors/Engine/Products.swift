import CKernels

/// Matrix products over all threads of the engine.
///
/// The partition depends on shapes and the number of threads. The results do not, except for the last digits where the library
/// has different loops for few rows and for many (oneDNN on AVX2).
extension ComputeEngine {
  /// Memory for the right-hand matrix of many products, or for several matrices side by side; `pack` fills it.
  ///
  /// With `transposed` the right-hand matrix is the transpose of `sources` side by side. `panelWidth` is the number of columns of
  /// a panel (default: suited to a product with the whole matrix).
  package func packedMatrix(
    _ sources: [Matrix], transposed: Bool = false, panelWidth: Int? = nil
  ) -> PackedMatrix {
    PackedMatrix(
      sources, transposed: transposed, panelWidth: panelWidth, multiplier: multiplier,
      memory: TemporaryMemory())
  }

  /// The bytes of a packed matrix of such sources, which need no elements.
  package func packedByteCount(_ sources: [Matrix], transposed: Bool = false) -> Int {
    PackedMatrix(sources, transposed: transposed, multiplier: multiplier, memory: nil).byteCount
  }

  /// Packs the current elements of the sources.
  package func pack(_ matrix: PackedMatrix) {
    guard matrix.isPacked else { return }
    forEachPart(of: matrix.panels.count, minimumPartCount: 1) { worker, range in
      for panel in matrix.panels[range] {
        for block in panel.blocks { multiplier.pack(block, worker: worker.index) }
      }
    }
  }

  /// `c = a·b`, or `c += a·b` when adding; a is m × k, b is k × n, c is m × n.
  package func multiply(_ a: Matrix, _ b: PackedMatrix, into c: Matrix, adding: Bool = false) {
    precondition(
      a.columnCount == b.rowCount && a.rowCount == c.rowCount && b.columnCount == c.columnCount,
      "shapes of a product")
    let rowsPerPart = 64
    if a.rowCount >= threadCount * rowsPerPart {
      forEachPart(of: a.rowCount, minimumPartCount: rowsPerPart) { worker, rows in
        multiply(rows, of: a, b, panels: 0..<b.panels.count, into: c, adding: adding, worker)
      }
    } else {
      forEachPart(of: b.panels.count, minimumPartCount: 1) { worker, panels in
        multiply(0..<a.rowCount, of: a, b, panels: panels, into: c, adding: adding, worker)
      }
    }
  }

  /// Rounds blocks of rows of a that stay in a core's cache, and multiplies each with every panel.
  private func multiply(
    _ rows: Range<Int>, of a: Matrix, _ b: PackedMatrix, panels: Range<Int>, into c: Matrix, adding: Bool,
    _ worker: Worker
  ) {
    let rowsPerBlock = max(32, (1 << 18) / max(1, a.columnCount))
    for start in stride(from: rows.lowerBound, to: rows.upperBound, by: rowsPerBlock) {
      let block = start..<min(start + rowsPerBlock, rows.upperBound)
      let left = worker.operands(a.rows(block), cutAt: b.panels[0].blocks)
      for panel in b.panels[panels] {
        let result = c.rows(block).columns(panel.columns)
        for part in panel.blocks {
          multiplier.multiply(
            left.columns(part.rows), part, into: result, adding: adding || part.rows.lowerBound > 0,
            worker: worker.index)
        }
      }
    }
  }

  /// `c += aᵀ·b`; a is k × m, b is k × n, c is m × n.
  package func multiply(transposed a: Matrix, _ b: Matrix, addingTo c: Matrix) {
    multiply(transposed: a, [b], addingTo: [c])
  }

  /// `c += aᵀ·b` for every b and its c: the gradients of weights that share their input, or their output.
  ///
  /// a is k × m, each b is k × n and its c is m × n.
  package func multiply(transposed a: Matrix, _ b: [Matrix], addingTo c: [Matrix]) {
    precondition(
      b.count == c.count
        && zip(b, c).allSatisfy {
          $0.rowCount == a.rowCount && $1.rowCount == a.columnCount && $0.columnCount == $1.columnCount
        }, "shapes of a product")
    let packed = PackedMatrix(b, transposed: false, multiplier: multiplier, memory: temporaryMemory)
    pack(packed)
    let columnsPerBlock = 128
    let blockCount = (a.columnCount + columnsPerBlock - 1) / columnsPerBlock
    forEachPart(of: blockCount, minimumPartCount: 1) { worker, blocks in
      for block in blocks {
        let columns = block * columnsPerBlock..<min((block + 1) * columnsPerBlock, a.columnCount)
        let left = worker.roundedTransposed(a.columns(columns))
        for (panel, result) in zip(packed.panels, PanelResults(packed, c)) {
          multiplier.multiply(
            left, panel.blocks[0], into: result.rows(columns), adding: true, worker: worker.index)
        }
      }
    }
  }
}

/// For each panel of a packed matrix, the corresponding columns of several matrices of the same widths.
private struct PanelResults: Sequence, IteratorProtocol {
  private let panels: [PackedMatrix.Panel]
  private let matrices: [Matrix]
  private var panel = 0
  private var matrix = 0
  private var firstColumn = 0

  init(_ packed: PackedMatrix, _ matrices: [Matrix]) {
    panels = packed.panels
    self.matrices = matrices
  }

  mutating func next() -> Matrix? {
    guard panel < panels.count else { return nil }
    let columns = panels[panel].columns
    while columns.lowerBound >= firstColumn + matrices[matrix].columnCount {
      firstColumn += matrices[matrix].columnCount
      matrix += 1
    }
    panel += 1
    return matrices[matrix].columns(columns.lowerBound - firstColumn..<columns.upperBound - firstColumn)
  }
}
