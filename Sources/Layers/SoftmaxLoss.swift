import CKernels
import Tensors

/// Full softmax over the vocabulary with the tied matrix, and its negative log-likelihood.
///
/// `logits = z · Wᵀ + bias`. They are never held whole: rows are processed in chunks, the vocabulary in blocks.
/// For a chunk only `exp(logit − largest of its row and block)` is kept, in the engine's precision. Every
/// exponential is within (0, 1], so rounding it to bfloat16 gives each probability the same relative error, whatever the logits;
/// the factor that turns them into probabilities, `exp(largest − log-sum-exp)`, is one fp32 number for each row and block.
package struct SoftmaxLoss: Sendable {
  /// The V × E matrix shared with the input.
  package let embedding: Parameter
  /// V.
  package let bias: Parameter
  /// The ranges of rows of the matrix whose gradients are finished one after the other.
  package let rowRanges: [Range<Int>]
  /// Their ranges of the flat gradient, then the bias: the order in which they are finished.
  package let gradientRanges: [GradientRange]

  /// Declares `softmax.bias`; the matrix's gradient is finished in `rangeCount` ranges, or in fewer where there are not as
  /// many blocks of rows.
  package init(embedding: Parameter, rangeCount: Int = 1, in list: inout ParameterList) {
    self.embedding = embedding
    let rowRanges = SoftmaxWorkspace.rowRanges(rangeCount, ofVocabulary: embedding.rowCount)
    let bias = list.add(
      "softmax.bias", shape: [embedding.rowCount], initialization: .zero, decays: false, elementsPerToken: 1)
    let width = embedding.columnCount
    let matrixRanges = rowRanges.enumerated().map { number, rows in
      let isLast = number == rowRanges.count - 1
      // The last one includes the padding between the matrix and the next tensor.
      let end = isLast ? bias.offset : embedding.offset + rows.upperBound * width
      let name =
        rowRanges.count == 1 ? embedding.name : "\(embedding.name) range \(number + 1) of \(rowRanges.count)"
      return GradientRange(
        .tiedMatrix, name: name, range: embedding.offset + rows.lowerBound * width..<end, rowLength: width)
    }
    self.rowRanges = rowRanges
    self.bias = bias
    gradientRanges =
      matrixRanges + [GradientRange(.softmaxBias, name: bias.name, range: bias.offset..<list.elementCount)]
  }

  /// The matrix product of its forward pass: the logits, block after block.
  package var products: [LayerProduct] {
    [LayerProduct(transposed: embedding, blockLength: SoftmaxWorkspace.blockLength)]
  }

  /// The sum of the negative log-likelihoods of this rank's own rows, in nats; sets their gradient to
  /// `scale · (p − onehot) · W`.
  ///
  /// Adds `scale / gradientDivisor · (p − onehot)ᵀ · z` over the rows of all ranks, and its column sums, to the gradients of
  /// matrix and bias; for the matrix, the rows of this rank's shard. The normalizer depends on the whole vocabulary, so the
  /// owners of its shards combine their statistics of each chunk. Where a block of rows has no probability above the workspace's
  /// threshold in any row of a chunk, the gradients use the product of two sums in place of two products; with threshold 0 they
  /// are exact. `sink` receives each range once all rows have been added to it. A deferred gradient of the matrix is returned.
  package func forwardBackward(
    _ own: SoftmaxRows, scale: Float, weights: Weights, gradients: ParameterBuffer,
    workspace: SoftmaxWorkspace, vocabulary: any VocabularyShards, sink: (any GradientSink)?
  ) throws -> (loss: Double, deferred: DeferredGradient?) {
    let all = try vocabulary.gather(own)
    let target = SoftmaxChunk.Target(
      matrix: gradients[embedding], bias: gradients[bias], scale: scale / vocabulary.gradientDivisor)
    var loss = 0.0
    var deferred: DeferredGradient?
    for rows in workspace.chunks(of: all.output.rowCount) {
      let chunk = chunk(
        all.output.rows(rows), all.targets[rows],
        matrix: .rounded(weights.rounded(embedding, workspace.shard)), weights: weights, workspace: workspace)
      let statistics = chunk.exponentiate(keeping: true)
      try vocabulary.combine(statistics)
      loss += rows.clamped(to: all.ownRows).reduce(0) { $0 + statistics.loss($1 - rows.lowerBound) }
      chunk.setFactors(statistics, scale: target.scale)
      let isLast = rows.upperBound == all.output.rowCount
      let defers = isLast && vocabulary.defersMatrixGradient
      for (number, range) in rowRanges.enumerated() {
        chunk.addGradients(defers ? .input : [.input, .matrix], ofRows: range, to: target)
        if isLast && !defers { try sink?.finish(gradientRanges[number]) }
      }
      if defers { deferred = DeferredGradient(chunk: chunk, target: target, softmax: self) }
      chunk.setInputGradient(all.gradient.rows(rows), scale: target.scale)
    }
    if deferred == nil { try sink?.finish(gradientRanges[rowRanges.count]) }
    try vocabulary.scatter(all, into: own)
    return (loss, deferred)
  }

  /// Gradients of matrix and bias that are still to be added; until then rows and workspace must not change.
  package struct DeferredGradient: Sendable {
    fileprivate let chunk: SoftmaxChunk
    fileprivate let target: SoftmaxChunk.Target
    fileprivate let softmax: SoftmaxLoss

    /// Adds them; `sink` receives the ranges.
    package func add(sink: (any GradientSink)?) throws {
      chunk.addGradients(.matrix, ofRows: 0..<softmax.embedding.rowCount, to: target)
      for range in softmax.gradientRanges { try sink?.finish(range) }
    }
  }

  /// Sets `losses` to the negative log-likelihood of each row, in nats.
  package func score(
    _ output: Matrix, targets: Vector<Int32>, weights: Weights, into losses: Vector<Double>,
    workspace: SoftmaxWorkspace
  ) {
    let matrix = logitMatrix(weights, workspace)
    for rows in workspace.chunks(of: output.rowCount) {
      let chunk = chunk(
        output.rows(rows), targets[rows], matrix: matrix, weights: weights, workspace: workspace)
      let statistics = chunk.exponentiate(keeping: false)
      for row in 0..<rows.count { losses[rows.lowerBound + row] = statistics.loss(row) }
    }
  }

  /// The tied matrix in the form in which scoring reads it fastest.
  ///
  /// Panels are a copy beside the fp32 matrix, so only bfloat16 has them; training, whose backward half reads the matrix row by
  /// row, has no memory for two roundings of it.
  private func logitMatrix(_ weights: Weights, _ workspace: SoftmaxWorkspace) -> SoftmaxChunk.LogitMatrix {
    guard weights.engine.precision == .bfloat16 else {
      return .rounded(weights.rounded(embedding, workspace.shard))
    }
    return .packed(weights.right(transposed: embedding, panelWidth: SoftmaxWorkspace.blockLength))
  }

  private func chunk(
    _ input: Matrix, _ targets: Vector<Int32>, matrix: SoftmaxChunk.LogitMatrix, weights: Weights,
    workspace: SoftmaxWorkspace
  ) -> SoftmaxChunk {
    let engine = weights.engine
    return SoftmaxChunk(
      input: input, operand: engine.rounded(input, in: workspace.input), targets: targets,
      embedding: weights[embedding], matrix: matrix, bias: weights[bias], workspace: workspace,
      engine: engine)
  }

  /// Sets `logits`, rows × V, for sampling.
  package func logits(_ output: Matrix, weights: Weights, into logits: Matrix) {
    let engine = weights.engine
    let matrix = weights.rounded(embedding)
    let memory = engine.operandMemory(elementCount: output.count)
    let operand = engine.rounded(output, in: memory)
    withExtendedLifetime(memory) {
      engine.forEachPart(of: logits.columnCount, minimumPartCount: SoftmaxWorkspace.blockLength) {
        worker, range in
        worker.multiply(operand, matrix.rows(range).transposed, into: logits.columns(range))
      }
    }
    engine.add(row: weights[bias], toRowsOf: logits)
  }
}
