import CKernels
import Tensors

/// Some rows of z in the softmax: logits, exponentials, gradients.
///
/// The results are in the workspace, which holds one chunk at a time.
struct SoftmaxChunk: Sendable {
  /// The tied matrix as an operand of the products that compute logits.
  enum LogitMatrix: Sendable {
    case rounded(Operand)
    case packed(PackedMatrix)
  }

  /// The gradients of matrix and bias, and their factor.
  struct Target: Sendable {
    let matrix: Matrix
    let bias: Matrix
    let scale: Float
  }

  /// Gradients to compute from the exponentials.
  struct Gradients: OptionSet {
    let rawValue: Int
    /// Each worker's part of dL/dz.
    static let input = Gradients(rawValue: 1)
    /// Those of matrix and bias; `input` alone precedes it where they are computed separately.
    static let matrix = Gradients(rawValue: 2)
  }

  let input: Matrix
  let operand: Operand
  let targets: Vector<Int32>
  let embedding: Matrix
  let matrix: LogitMatrix
  let bias: Matrix
  let workspace: SoftmaxWorkspace
  let engine: ComputeEngine

  private var rowCount: Int { input.rowCount }

  /// Computes all blocks of logits: each row's maximum and sum of exponentials, and the exponentials
  /// themselves where they are kept; returns the statistics of each row.
  func exponentiate(keeping: Bool) -> SoftmaxStatistics {
    let tiles = workspace.tiles(of: rowCount)
    let statistics = workspace.statistics(rowCount: rowCount)
    for row in 0..<rowCount { statistics.set(targetLogit: 0, of: row) }
    engine.forEachWorker { worker in
      for block in workspace.blocks(of: worker) {
        let kept = keeping ? workspace.exponentials(of: block, rowCount: rowCount) : nil
        for rows in tiles { exponentiate(rows, block, into: kept, statistics, worker) }
      }
    }
    engine.forEachPart(of: rowCount, minimumPartCount: 16) { rows in
      for row in rows { statistics.set(logSumExp: workspace.logSumExp(row), of: row) }
    }
    return statistics
  }

  private func exponentiate(
    _ rows: Range<Int>, _ block: Int, into kept: Operand?, _ statistics: SoftmaxStatistics, _ worker: Worker
  ) {
    let tokens = workspace.shard.rows(ofBlock: block)
    let logits = workspace.logits(rowCount: rows.count, columnCount: tokens.count, worker)
    let input = operand.rows(rows)
    switch matrix {
    case .rounded(let matrix): worker.multiply(input, matrix.rows(tokens).transposed, into: logits)
    case .packed(let matrix): worker.multiply(input, matrix, panel: block, into: logits)
    }
    let bias = bias.data + tokens.lowerBound
    for (tileRow, row) in rows.enumerated() {
      var largest: Float = 0
      let sum = exponentials(of: logits.rows(tileRow..<tileRow + 1), bias, &largest, into: kept, row)
      workspace.largest[row, block] = largest
      workspace.sums[row, block] = sum
      let target = Int(targets[row])
      if tokens.contains(target) {
        statistics.set(targetLogit: logits[tileRow, target - tokens.lowerBound], of: row)
      }
    }
  }

  private func exponentials(
    of logits: Matrix, _ bias: UnsafePointer<Float>, _ largest: inout Float, into kept: Operand?, _ row: Int
  ) -> Float {
    let count = logits.columnCount
    guard let kept else { return CKernels_softmaxSum(logits.data, bias, count, &largest) }
    switch kept.precision {
    case .bfloat16:
      return CKernels_softmaxExponentialsBFloat16(
        logits.data, bias, count, &largest, kept.elements(ofRow: row, as: UInt16.self))
    case .float32:
      return CKernels_softmaxExponentials(
        logits.data, bias, count, &largest, kept.elements(ofRow: row, as: Float.self))
    }
  }

  /// Sets the factors of each row's exponentials, block by block: with them they are `scale` × probabilities.
  func setFactors(_ statistics: SoftmaxStatistics, scale: Float) {
    let (largest, factors) = (workspace.largest, workspace.factors)
    engine.forEachPart(of: rowCount, minimumPartCount: 16) { rows in
      for row in rows {
        factors.row(row).update(from: largest.row(row), count: factors.columnCount)
        CKernels_softmaxFactors(
          factors.row(row), factors.columnCount, Float(statistics.logSumExp(row)), scale)
      }
    }
  }

  /// Adds the gradients of matrix and bias for the blocks of some rows of the matrix, and adds what these blocks contribute to
  /// each worker's part of the input's; one of both, or both in one pass over the exponentials.
  func addGradients(_ gradients: Gradients, ofRows range: Range<Int>, to target: Target) {
    guard case .rounded(let matrix) = matrix else { preconditionFailure("a matrix in rows") }
    engine.forEachWorker { worker in
      let sum = workspace.inputGradient(rowCount: rowCount, worker)
      if range.lowerBound == 0 && gradients.contains(.input) { sum.fill(0) }
      for number in workspace.blocks(of: worker, in: range) {
        let block = Block(number, of: self)
        if block.isBelow(workspace.threshold * target.scale) {
          // Both gradients follow from the same sums.
          if gradients.contains(.input) { addFactored(block, matrix, to: target, sum, worker) }
          continue
        }
        if gradients.contains(.input) {
          let product = workspace.product(rowCount: rowCount, worker)
          worker.multiply(block.exponentials, matrix.rows(block.tokens), into: product)
          for row in 0..<rowCount {
            CKernels_addScaled(product.row(row), block.factors[row, 0], sum.row(row), sum.columnCount)
          }
        }
        if gradients.contains(.matrix) { addProduct(block, to: target, worker) }
      }
    }
  }

  /// The exponentials of a block of rows of the matrix, and their factors.
  private struct Block {
    let tokens: Range<Int>
    let exponentials: Operand
    let factors: Matrix
    let sums: Matrix

    init(_ number: Int, of chunk: SoftmaxChunk) {
      let workspace = chunk.workspace
      let rows = 0..<chunk.rowCount
      tokens = workspace.shard.rows(ofBlock: number)
      exponentials = workspace.exponentials(of: number, rowCount: chunk.rowCount)
      factors = workspace.factors.rows(rows).columns(number..<number + 1)
      sums = workspace.sums.rows(rows).columns(number..<number + 1)
    }

    /// Whether no element of any row exceeds a limit: the largest exponential is 1.
    func isBelow(_ limit: Float) -> Bool {
      (0..<factors.rowCount).allSatisfy { factors[$0, 0] <= limit }
    }

    /// The probability of the whole block in a row, times the scale.
    func mass(_ row: Int) -> Float { factors[row, 0] * sums[row, 0] }

    /// Adds a row's probabilities times the scale.
    func addRow(_ row: Int, to sums: UnsafeMutablePointer<Float>) {
      exponentials.addRow(row, times: factors[row, 0], to: sums)
    }
  }

  /// The gradients of matrix and bias of a block.
  private func addProduct(_ block: Block, to target: Target, _ worker: Worker) {
    subtractTargets(among: block.tokens, from: target)
    for row in 0..<rowCount { block.addRow(row, to: target.bias.data + block.tokens.lowerBound) }
    let scaled = worker.scaledRows(of: input, by: block.factors)
    worker.multiply(
      block.exponentials.transposed, scaled, into: target.matrix.rows(block.tokens), adding: true)
  }

  /// All gradients of a block, with the product of two vectors in place of its probabilities.
  ///
  /// The vectors are the mass of the block in each row, and the fraction of each token in the mass of all rows: the sums over rows
  /// and over tokens stay exact.
  private func addFactored(
    _ block: Block, _ matrix: Operand, to target: Target, _ inputGradient: Matrix, _ worker: Worker
  ) {
    subtractTargets(among: block.tokens, from: target)
    let means = workspace.means(worker)
    means.fill(0)
    let fractions = workspace.tokenSums(of: block.tokens, worker)
    fractions.fill(0)
    let (meanInput, meanToken) = (means.row(0), means.row(1))
    var total: Float = 0
    for row in 0..<rowCount {
      let mass = block.mass(row)
      total += mass
      block.addRow(row, to: fractions.data)
      CKernels_addScaled(input.row(row), mass, meanInput, means.columnCount)
    }
    guard total > 0 else { return }
    CKernels_addScaled(fractions.data, 1, target.bias.data + block.tokens.lowerBound, block.tokens.count)
    let (tokenRows, gradient) = (matrix.rows(block.tokens), target.matrix.rows(block.tokens))
    for token in 0..<block.tokens.count {
      let fraction = fractions[0, token] / total
      tokenRows.addRow(token, times: fraction, to: meanToken)
      CKernels_addScaled(meanInput, fraction, gradient.row(token), means.columnCount)
    }
    for row in 0..<rowCount {
      CKernels_addScaled(meanToken, block.mass(row), inputGradient.row(row), means.columnCount)
    }
  }

  /// The one-hot part of the gradients for targets among some tokens, in fp32.
  private func subtractTargets(among tokens: Range<Int>, from target: Target) {
    for row in 0..<rowCount {
      let token = Int(targets[row])
      guard tokens.contains(token) else { continue }
      CKernels_addScaled(input.row(row), -target.scale, target.matrix.row(token), input.columnCount)
      target.bias[0, token] -= target.scale
    }
  }

  /// Adds the workers' parts of the input's gradient, in their order, and the one-hot part.
  func setInputGradient(_ gradient: Matrix, scale: Float) {
    engine.forEachRowPart(of: gradient) { rows in
      for row in rows {
        let (width, target) = (gradient.columnCount, Int(targets[row]))
        if workspace.shard.contains(target) {
          CKernels_scale(embedding.row(target), -scale, gradient.row(row), width)
        } else {
          gradient.row(row).update(repeating: 0, count: width)
        }
        for part in workspace.inputGradients {
          CKernels_addScaled(part.row(row), 1, gradient.row(row), width)
        }
      }
    }
  }
}

extension Operand {
  /// Adds a row of the operand, scaled, to as many fp32 sums.
  fileprivate func addRow(_ row: Int, times factor: Float, to sums: UnsafeMutablePointer<Float>) {
    switch precision {
    case .bfloat16:
      CKernels_addScaledBFloat16(elements(ofRow: row, as: UInt16.self), factor, sums, columnCount)
    case .float32: CKernels_addScaled(elements(ofRow: row, as: Float.self), factor, sums, columnCount)
    }
  }
}
