import CKernels
import Tensors

/// Full softmax over the vocabulary with the tied matrix, and its negative log-likelihood.
///
/// `logits = z · Wᵀ + bias`. They are never held whole: the rows are worked through in chunks whose
/// logits fit a budget of bytes.
public struct SoftmaxLoss: Sendable {
  /// The V × E matrix shared with the input.
  public let embedding: Parameter
  /// V.
  public let bias: Parameter

  /// Declares `softmax.bias`.
  public init(embedding: Parameter, in list: inout ParameterList) {
    self.embedding = embedding
    bias = list.add("softmax.bias", shape: [embedding.rowCount], initialization: .zero, decays: false)
  }

  /// The chunk of logits that is worked on, and the likelihoods of its rows.
  public struct Workspace: Sendable {
    let logits: Matrix
    let losses: Vector<Double>

    /// Memory for up to `rowCount` rows, in chunks of at most `byteBudget` bytes,
    /// or one row where that is more.
    public init(vocabularySize: Int, rowCount: Int, byteBudget: Int, in arena: Arena) {
      let limit = max(1, min(rowCount, byteBudget / (vocabularySize * MemoryLayout<Float>.stride)))
      // Chunks of one size: a small last one would cost a whole pass over the matrix for a few rows.
      let chunkCount = max(1, (rowCount + limit - 1) / limit)
      let rowsPerChunk = max(1, (rowCount + chunkCount - 1) / chunkCount)
      logits = arena.matrix(rowCount: rowsPerChunk, columnCount: vocabularySize)
      losses = arena.vector(of: Double.self, count: rowCount)
    }
  }

  /// The sum of the rows' negative log-likelihoods in nats.
  ///
  /// Sets `inputGradient` to `scale · (p − onehot) · W`, and adds `scale · (p − onehot)ᵀ · z` and its column
  /// sums to the gradients of matrix and bias.
  public func forwardBackward(
    _ input: Matrix, targets: Vector<Int32>, scale: Float, weights: ParameterBuffer,
    gradients: ParameterBuffer, into inputGradient: Matrix, workspace: Workspace, engine: ComputeEngine
  ) -> Double {
    forEachChunk(input, targets: targets, weights: weights, workspace: workspace, engine: engine) {
      rows, logits in
      let bias = weights[bias]
      setLosses(of: rows, logits, workspace, engine) { logits, row in
        CKernels_softmaxGradient(logits.data, bias.data, logits.columnCount, Int(targets[row]), scale)
      }
      engine.multiply(logits, weights[embedding], into: inputGradient.rows(rows))
      engine.multiply(transposed: logits, input.rows(rows), into: gradients[embedding], adding: true)
      engine.addColumnSums(of: logits, to: gradients[self.bias])
    }
    return (0..<input.rowCount).reduce(0) { $0 + workspace.losses[$1] }
  }

  /// Sets `losses` to the negative log-likelihood of each row, in nats.
  public func score(
    _ input: Matrix, targets: Vector<Int32>, weights: ParameterBuffer,
    into losses: Vector<Double>, workspace: Workspace, engine: ComputeEngine
  ) {
    forEachChunk(input, targets: targets, weights: weights, workspace: workspace, engine: engine) {
      rows, logits in
      let bias = weights[bias]
      setLosses(of: rows, logits, workspace, engine) { logits, row in
        CKernels_softmaxScore(logits.data, bias.data, logits.columnCount, Int(targets[row]))
      }
    }
    for row in 0..<input.rowCount { losses[row] = workspace.losses[row] }
  }

  /// Sets `logits`, rows × V, for sampling.
  public func logits(
    _ input: Matrix, weights: ParameterBuffer, into logits: Matrix, engine: ComputeEngine
  ) {
    engine.multiply(input, transposed: weights[embedding], into: logits)
    engine.add(row: weights[bias], toRowsOf: logits)
  }

  /// Sets the losses of a chunk's rows, each from its row of logits, which `loss` may overwrite.
  private func setLosses(
    of rows: Range<Int>, _ logits: Matrix, _ workspace: Workspace, _ engine: ComputeEngine,
    _ loss: @Sendable (_ logits: Matrix, _ row: Int) -> Double
  ) {
    engine.forEachPart(of: rows.count, minimumPartCount: 1) { part in
      for index in part {
        let row = rows.lowerBound + index
        workspace.losses[row] = loss(logits.rows(index..<index + 1), row)
      }
    }
  }

  private func forEachChunk(
    _ input: Matrix, targets: Vector<Int32>, weights: ParameterBuffer, workspace: Workspace,
    engine: ComputeEngine, _ body: (Range<Int>, Matrix) -> Void
  ) {
    precondition(
      targets.count == input.rowCount && input.rowCount <= workspace.losses.count, "a target for each row")
    var start = 0
    while start < input.rowCount {
      let rows = start..<min(start + workspace.logits.rowCount, input.rowCount)
      let logits = workspace.logits.rows(0..<rows.count)
      engine.multiply(input.rows(rows), transposed: weights[embedding], into: logits)
      body(rows, logits)
      start = rows.upperBound
    }
  }
}
