import CKernels
import Tensors

/// Full softmax over the vocabulary with the tied matrix, and its negative log-likelihood.
///
/// `logits = z · Wᵀ + bias`. They are never held whole: the rows are worked through in chunks, the vocabulary in blocks.
/// Of a chunk only `exp(logit − largest of its row and block)` is kept, in the engine's precision. Every
/// exponential is within (0, 1], so rounding it to bfloat16 costs each probability the same relative error, whatever the logits;
/// what turns them into probabilities, `exp(largest − log-sum-exp)`, is one fp32 number for each row and block.
public struct SoftmaxLoss: Sendable {
  /// The V × E matrix shared with the input.
  public let embedding: Parameter
  /// V.
  public let bias: Parameter
  /// The words whose rows of the matrix's gradient are finished together, piece after piece.
  public let pieces: [Range<Int>]

  /// Declares `softmax.bias`; the matrix's gradient is finished in `pieceCount` pieces, or in fewer where there are not as
  /// many blocks of words.
  public init(embedding: Parameter, pieceCount: Int = 1, in list: inout ParameterList) {
    self.embedding = embedding
    pieces = SoftmaxWorkspace.pieces(pieceCount, ofVocabulary: embedding.rowCount)
    bias = list.add(
      "softmax.bias", shape: [embedding.rowCount], initialization: .zero, decays: false, elementsPerWord: 1)
  }

  /// The sum of the rows' negative log-likelihoods in nats.
  ///
  /// Sets `inputGradient` to `scale · (p − onehot) · W`, and adds `scale · (p − onehot)ᵀ · z` and its column
  /// sums to the gradients of matrix and bias. Where a block of words has no probability above `threshold` in any
  /// row of a chunk, the gradients take the product of the row's share and the word's share of the block for it: two sums in
  /// place of two products. With 0 they are exact. `finished` is called with the number of each piece of the matrix's gradient
  /// when all rows have been added to it; the bias's is finished with the last piece.
  public func forwardBackward<Failure: Error>(
    _ input: Matrix, targets: Vector<Int32>, scale: Float, threshold: Float = 0, weights: Weights,
    gradients: ParameterBuffer, into inputGradient: Matrix, workspace: SoftmaxWorkspace,
    engine: ComputeEngine, finished: (_ piece: Int) throws(Failure) -> Void
  ) throws(Failure) -> Double {
    try forwardBackward(
      input, targets, countedRows: 0..<input.rowCount, scale: scale, threshold: threshold, weights, gradients,
      inputGradient, defersLast: false, workspace, engine, combine: { (_) throws(Failure) in },
      finished: finished
    ).loss
  }

  /// The same of the workspace's words, where other ranks have the rest of them: the gradients are these words' part.
  ///
  /// What exponentials are multiplied with hangs on all words: `combine` is given what is known of each row of a chunk, and
  /// makes of it what all shards know together. The loss is that of `ownRows`. The last chunk's gradients of matrix and bias
  /// are left for `addDeferred`: they are needed last, and to compute them hides what is sent meanwhile.
  public func forwardBackward<Failure: Error>(
    sharing input: Matrix, targets: Vector<Int32>, ownRows: Range<Int>, scale: Float, threshold: Float,
    weights: Weights, gradients: ParameterBuffer, into inputGradient: Matrix, workspace: SoftmaxWorkspace,
    engine: ComputeEngine, combine: (SoftmaxStatistics) throws(Failure) -> Void
  ) throws(Failure) -> (loss: Double, deferred: DeferredGradients) {
    try forwardBackward(
      input, targets, countedRows: ownRows, scale: scale, threshold: threshold, weights, gradients,
      inputGradient, defersLast: true, workspace, engine, combine: combine,
      finished: { (_) throws(Failure) in })
  }

  private func forwardBackward<Failure: Error>(
    _ input: Matrix, _ targets: Vector<Int32>, countedRows: Range<Int>, scale: Float, threshold: Float,
    _ weights: Weights, _ gradients: ParameterBuffer, _ inputGradient: Matrix, defersLast: Bool,
    _ workspace: SoftmaxWorkspace, _ engine: ComputeEngine,
    combine: (SoftmaxStatistics) throws(Failure) -> Void, finished: (Int) throws(Failure) -> Void
  ) throws(Failure) -> (loss: Double, deferred: DeferredGradients) {
    var loss = 0.0
    var deferred: [Chunk] = []
    for rows in workspace.chunks(of: input.rowCount) {
      let chunk = chunk(input, targets, rows, weights: weights, workspace: workspace, engine: engine)
      let statistics = exponentiate(chunk, keeping: true, workspace, engine)
      try combine(statistics)
      loss += rows.clamped(to: countedRows).reduce(0) { $0 + statistics.loss($1 - rows.lowerBound) }
      setFactors(chunk, statistics, scale: scale, workspace, engine)
      let isLast = rows.upperBound == input.rowCount
      let defers = isLast && defersLast
      if defers { deferred.append(chunk) }
      for (number, piece) in pieces.enumerated() {
        addGradients(
          defers ? .input : .all, chunk, piece, scale: scale, threshold: threshold, gradients, workspace,
          engine)
        if isLast { try finished(number) }
      }
      setInputGradient(chunk, scale: scale, into: inputGradient.rows(rows), workspace, engine)
    }
    return (loss, DeferredGradients(chunks: deferred, scale: scale, threshold: threshold))
  }

  /// Adds what `forwardBackward` has left; the rows that it was given are still there, and the workspace was not used since.
  public func addDeferred(
    _ deferred: DeferredGradients, gradients: ParameterBuffer, workspace: SoftmaxWorkspace,
    engine: ComputeEngine
  ) {
    for chunk in deferred.chunks {
      addGradients(
        .words, chunk, 0..<embedding.rowCount, scale: deferred.scale, threshold: deferred.threshold,
        gradients,
        workspace, engine)
    }
  }

  /// Gradients of matrix and bias that are still to be added.
  public struct DeferredGradients: Sendable {
    fileprivate let chunks: [Chunk]
    fileprivate let scale: Float
    fileprivate let threshold: Float
  }

  /// Sets `losses` to the negative log-likelihood of each row, in nats.
  public func score(
    _ input: Matrix, targets: Vector<Int32>, weights: Weights, into losses: Vector<Double>,
    workspace: SoftmaxWorkspace, engine: ComputeEngine
  ) {
    let packed = Self.packed(embedding, weights, engine)
    for rows in workspace.chunks(of: input.rowCount) {
      let chunk = chunk(
        input, targets, rows, packed: packed, weights: weights, workspace: workspace, engine: engine)
      let statistics = exponentiate(chunk, keeping: false, workspace, engine)
      for row in 0..<rows.count { losses[rows.lowerBound + row] = statistics.loss(row) }
    }
  }

  /// Sets `logits`, rows × V, for sampling.
  public func logits(_ input: Matrix, weights: Weights, into logits: Matrix, engine: ComputeEngine) {
    let words = weights.rounded(embedding)
    let memory = engine.operandMemory(elementCount: input.count)
    let operand = engine.rounded(input, in: memory)
    withExtendedLifetime(memory) {
      engine.forEachPart(of: logits.columnCount, minimumPartCount: SoftmaxWorkspace.blockLength) {
        worker, range in
        worker.multiply(operand, words.rows(range).transposed, into: logits.columns(range))
      }
    }
    engine.add(row: weights[bias], toRowsOf: logits)
  }

  /// Some rows of z with all that belongs to them.
  fileprivate struct Chunk: Sendable {
    let input: Matrix
    let operand: Operand
    let targets: Vector<Int32>
    let embedding: Matrix
    let words: Words
    let bias: Matrix
    var rowCount: Int { input.rowCount }
  }

  /// The tied matrix as the products of logits read it.
  fileprivate enum Words: Sendable {
    case rounded(Operand)
    case packed(PackedMatrix)
  }

  /// Panels of a block's words; nil where they would be a copy beside the fp32 matrix.
  ///
  /// Only scoring takes them: the backward half reads the matrix row by row, and two roundings of it are too much memory.
  private static func packed(
    _ embedding: Parameter, _ weights: Weights, _ engine: ComputeEngine
  ) -> PackedMatrix? {
    guard engine.precision == .bfloat16 else { return nil }
    return weights.right(transposed: embedding, panelWidth: SoftmaxWorkspace.blockLength)
  }

  private func chunk(
    _ input: Matrix, _ targets: Vector<Int32>, _ rows: Range<Int>, packed: PackedMatrix? = nil,
    weights: Weights, workspace: SoftmaxWorkspace, engine: ComputeEngine
  ) -> Chunk {
    precondition(targets.count == input.rowCount, "a target for each row")
    return Chunk(
      input: input.rows(rows), operand: engine.rounded(input.rows(rows), in: workspace.input),
      targets: targets[rows], embedding: weights[embedding],
      words: packed.map(Words.packed) ?? .rounded(weights.rounded(embedding, workspace.words)),
      bias: weights[bias])
  }

  /// Goes through all blocks of logits: leaves each row's largest and its sum of exponentials, and the exponentials
  /// themselves where they are kept; gives what is known of each row.
  private func exponentiate(
    _ chunk: Chunk, keeping: Bool, _ workspace: SoftmaxWorkspace, _ engine: ComputeEngine
  ) -> SoftmaxStatistics {
    let tiles = workspace.tiles(of: chunk.rowCount)
    let statistics = workspace.statistics(rowCount: chunk.rowCount)
    for row in 0..<chunk.rowCount { statistics.set(targetLogit: 0, of: row) }
    engine.forEachWorker { worker in
      for block in workspace.blocks(of: worker) {
        let kept = keeping ? workspace.exponentials(of: block, rowCount: chunk.rowCount) : nil
        for rows in tiles {
          exponentiate(rows, of: chunk, block, into: kept, statistics, workspace, worker)
        }
      }
    }
    engine.forEachPart(of: chunk.rowCount, minimumPartCount: 16) { rows in
      for row in rows { statistics.set(logSumExp: workspace.logSumExp(row), of: row) }
    }
    return statistics
  }

  private func exponentiate(
    _ rows: Range<Int>, of chunk: Chunk, _ block: Int, into kept: Operand?, _ statistics: SoftmaxStatistics,
    _ workspace: SoftmaxWorkspace, _ worker: Worker
  ) {
    let words = workspace.words.rows(ofBlock: block)
    let logits = workspace.logits(rowCount: rows.count, columnCount: words.count, worker)
    let input = chunk.operand.rows(rows)
    switch chunk.words {
    case .rounded(let matrix): worker.multiply(input, matrix.rows(words).transposed, into: logits)
    case .packed(let matrix): worker.multiply(input, matrix, panel: block, into: logits)
    }
    let bias = chunk.bias.data + words.lowerBound
    for (tileRow, row) in rows.enumerated() {
      var largest: Float = 0
      let sum = exponentials(of: logits.rows(tileRow..<tileRow + 1), bias, &largest, into: kept, row)
      workspace.largest[row, block] = largest
      workspace.sums[row, block] = sum
      let target = Int(chunk.targets[row])
      if words.contains(target) {
        statistics.set(targetLogit: logits[tileRow, target - words.lowerBound], of: row)
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

  /// Sets what a row's exponentials of each block are multiplied with to be `scale` × probabilities.
  private func setFactors(
    _ chunk: Chunk, _ statistics: SoftmaxStatistics, scale: Float, _ workspace: SoftmaxWorkspace,
    _ engine: ComputeEngine
  ) {
    engine.forEachPart(of: chunk.rowCount, minimumPartCount: 16) { rows in
      for row in rows {
        let largest = workspace.largest.row(row)
        CKernels_softmaxFactors(
          largest, workspace.words.blockCount, Float(statistics.logSumExp(row)), scale)
      }
    }
  }

  /// Which gradients are added.
  private enum Side {
    /// Those of matrix and bias, and the input's.
    case all
    /// The input's; the others only of blocks where both come out at once.
    case input
    /// Those of matrix and bias that `input` has left.
    case words
  }

  /// Adds the gradients of matrix and bias for a piece of the words, and sets each worker's part of the input's to that of
  /// its words; one side of that, or both.
  private func addGradients(
    _ side: Side, _ chunk: Chunk, _ piece: Range<Int>, scale: Float, threshold: Float,
    _ gradients: ParameterBuffer, _ workspace: SoftmaxWorkspace, _ engine: ComputeEngine
  ) {
    let (matrixGradient, biasGradient) = (gradients[embedding], gradients[bias])
    guard case .rounded(let matrix) = chunk.words else { preconditionFailure("a matrix read row by row") }
    engine.forEachWorker { worker in
      let sum = workspace.inputGradient(rowCount: chunk.rowCount, worker)
      if piece.lowerBound == 0 && side != .words { sum.fill(0) }
      for block in workspace.blocks(of: worker, in: piece) {
        let words = workspace.words.rows(ofBlock: block)
        let target = matrixGradient.rows(words)
        let factors = workspace.largest.columns(block..<block + 1)
        let exponentials = workspace.exponentials(of: block, rowCount: chunk.rowCount)
        if (0..<chunk.rowCount).allSatisfy({ factors[$0, 0] <= threshold * scale }) {
          guard side != .words else { continue }
          subtractTargets(chunk, words, scale: scale, from: target, biasGradient)
          let masses = workspace.sums.columns(block..<block + 1)
          addFactored(
            chunk, matrix.rows(words), words, exponentials, factors, masses, into: target, biasGradient, sum,
            workspace,
            worker)
          continue
        }
        if side != .words {
          let share = workspace.share(rowCount: chunk.rowCount, worker)
          worker.multiply(exponentials, matrix.rows(words), into: share)
          for row in 0..<chunk.rowCount {
            CKernels_addScaled(share.row(row), factors[row, 0], sum.row(row), sum.columnCount)
          }
        }
        guard side != .input else { continue }
        subtractTargets(chunk, words, scale: scale, from: target, biasGradient)
        for row in 0..<chunk.rowCount {
          addScaled(exponentials, row, factors[row, 0], biasGradient.data + words.lowerBound)
        }
        let scaled = worker.scaledRows(of: chunk.input, by: factors)
        worker.multiply(exponentials.transposed, scaled, into: target, adding: true)
      }
    }
  }

  /// The gradients of a block, with the product of two vectors in place of its probabilities.
  ///
  /// They are what a row gives to the whole block, and a word's share of what all rows give: the sums over rows and over
  /// words stay exact.
  private func addFactored(
    _ chunk: Chunk, _ matrix: Operand, _ words: Range<Int>, _ exponentials: Operand, _ factors: Matrix,
    _ sums: Matrix, into matrixGradient: Matrix, _ biasGradient: Matrix, _ inputGradient: Matrix,
    _ workspace: SoftmaxWorkspace, _ worker: Worker
  ) {
    let means = workspace.means(worker)
    means.fill(0)
    let shares = workspace.wordShares(of: words, worker)
    shares.fill(0)
    let (meanRow, meanWord) = (means.row(0), means.row(1))
    var total: Float = 0
    for row in 0..<chunk.rowCount {
      let mass = factors[row, 0] * sums[row, 0]
      total += mass
      addScaled(exponentials, row, factors[row, 0], shares.data)
      CKernels_addScaled(chunk.input.row(row), mass, meanRow, means.columnCount)
    }
    guard total > 0 else { return }
    CKernels_addScaled(shares.data, 1, biasGradient.data + words.lowerBound, words.count)
    for word in 0..<words.count {
      let share = shares[0, word] / total
      addScaled(matrix, word, share, meanWord)
      CKernels_addScaled(meanRow, share, matrixGradient.row(word), means.columnCount)
    }
    for row in 0..<chunk.rowCount {
      CKernels_addScaled(meanWord, factors[row, 0] * sums[row, 0], inputGradient.row(row), means.columnCount)
    }
  }

  private func addScaled(
    _ exponentials: Operand, _ row: Int, _ factor: Float, _ sums: UnsafeMutablePointer<Float>
  ) {
    let count = exponentials.columnCount
    switch exponentials.precision {
    case .bfloat16:
      CKernels_addScaledBFloat16(exponentials.elements(ofRow: row, as: UInt16.self), factor, sums, count)
    case .float32:
      CKernels_addScaled(exponentials.elements(ofRow: row, as: Float.self), factor, sums, count)
    }
  }

  /// The one-hot part of the gradients for targets among `words`, in fp32.
  private func subtractTargets(
    _ chunk: Chunk, _ words: Range<Int>, scale: Float, from matrixGradient: Matrix, _ biasGradient: Matrix
  ) {
    for row in 0..<chunk.rowCount {
      let target = Int(chunk.targets[row])
      guard words.contains(target) else { continue }
      CKernels_addScaled(
        chunk.input.row(row), -scale, matrixGradient.row(target - words.lowerBound), chunk.input.columnCount)
      biasGradient[0, target] -= scale
    }
  }

  /// Adds up the workers' parts, in their order, and the one-hot part.
  private func setInputGradient(
    _ chunk: Chunk, scale: Float, into gradient: Matrix, _ workspace: SoftmaxWorkspace,
    _ engine: ComputeEngine
  ) {
    engine.forEachRowPart(of: gradient) { rows in
      for row in rows {
        let (width, target) = (gradient.columnCount, Int(chunk.targets[row]))
        if workspace.words.contains(target) {
          CKernels_scale(chunk.embedding.row(target), -scale, gradient.row(row), width)
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
