import CKernels
import Tensors

/// Attention with relative positions (Dai and others 2019) of the T tokens of a segment, in B lanes, to themselves and to the M before.
///
/// For row i and key j at distance δ: `s = ((q + u)·k + (q + w)·r_δ) ÷ √width`, `o = Σⱼ softmaxⱼ(s) vⱼ`, for each head on its
/// own columns. Scores are computed again in the backward pass: only those of one head of one lane exist at a time on a thread.
package struct RelativeAttention: Sendable {
  /// The number of heads.
  package let headCount: Int
  /// The width of a head.
  package let headWidth: Int
  /// M.
  package let memory: Int
  /// The dropout of probabilities.
  package let dropout: Dropout

  /// Attention of heads of one width to M earlier tokens.
  package init(headCount: Int, headWidth: Int, memory: Int, dropout: Dropout) {
    self.headCount = headCount
    self.headWidth = headWidth
    self.memory = memory
    self.dropout = dropout
  }

  /// The products of scores and values in a segment as long as the memory, where a token sees 1.5 M keys on average.
  package func products(name: String) -> [LayerProduct] {
    let (width, keyCount) = (headCount * headWidth, max(1, memory * 3 / 2))
    return [
      LayerProduct("\(name).content", depth: width, columns: keyCount),
      LayerProduct("\(name).distance", depth: width, columns: keyCount),
      LayerProduct("\(name).values", depth: keyCount, columns: width),
    ]
  }

  /// The rows that attention reads, or their gradients; all heads side by side, A columns.
  package struct Rows: Sendable {
    /// T·B × A, time-major.
    package let query: Matrix
    /// (M + T)·B × A, time-major.
    package let key: Matrix
    /// (M + T)·B × A, time-major.
    package let value: Matrix
    /// (M + T) × A, the largest distance first.
    package let position: Matrix
    /// u, A.
    package let contentBias: Matrix
    /// w, A.
    package let positionBias: Matrix

    /// Views of rows that the caller owns.
    package init(
      query: Matrix, key: Matrix, value: Matrix, position: Matrix, contentBias: Matrix, positionBias: Matrix
    ) {
      self.query = query
      self.key = key
      self.value = value
      self.position = position
      self.contentBias = contentBias
      self.positionBias = positionBias
    }
  }

  /// Which keys a row sees, and which probabilities are dropped.
  package struct Mask: Sendable {
    /// How many of the M rows before the segment are filled, B × 1.
    package let filled: Matrix
    /// Whether every token sees exactly the M tokens before it, and not all of its segment's and the memory.
    package let hasSameLength: Bool
    /// The key of the dropout, the global number of the first lane and the time of the first row; nil: nothing is dropped.
    package let dropout: (key: RandomKey, firstLane: Int, firstTime: Int)?

    /// A mask of a segment.
    package init(
      filled: Matrix, hasSameLength: Bool, dropout: (key: RandomKey, firstLane: Int, firstTime: Int)?
    ) {
      self.filled = filled
      self.hasSameLength = hasSameLength
      self.dropout = dropout
    }
  }

  /// Scratch memory of the threads.
  package struct Workspace: Sendable {
    fileprivate let threads: [ThreadScratch]

    fileprivate struct ThreadScratch: Sendable {
      /// T × (M + T): scores, then probabilities.
      let scores: Matrix
      /// T × (M + T): the position's part of the scores, later the gradient of the scores by distance.
      let positions: Matrix
      /// T × (M + T): probabilities as they are used, some dropped; later the gradient of the scores.
      let dropped: Matrix
      /// T × (M + T): the gradient of the probabilities; empty for scoring.
      let gradient: Matrix
      /// T × width.
      let content: Matrix
      /// T × width.
      let result: Matrix
      /// The operands of one lane and head.
      let operands: Operands

      /// The same memory for segments of as many tokens or fewer.
      func resized(stepCount: Int, keyCount: Int) -> ThreadScratch {
        func scores(_ matrix: Matrix) -> Matrix {
          let rowCount = matrix.rowCount == 0 ? 0 : stepCount
          return Matrix(matrix.data, rowCount: rowCount, columnCount: keyCount)
        }
        return ThreadScratch(
          scores: scores(self.scores), positions: scores(positions), dropped: scores(dropped),
          gradient: scores(gradient), content: content.rows(0..<stepCount),
          result: result.rows(0..<stepCount),
          operands: operands)
      }
    }

    fileprivate func thread(_ worker: Worker, _ rows: Rows, laneCount: Int) -> ThreadScratch {
      threads[worker.index].resized(
        stepCount: rows.query.rowCount / laneCount, keyCount: rows.position.rowCount)
    }

    /// Operands in the engine's precision, in memory for single precision.
    fileprivate struct Operands: Sendable {
      let content: Matrix
      let positional: Matrix
      let key: Matrix
      let value: Matrix
      let position: Matrix
      let scores: Matrix
      let output: Matrix
    }

    /// Memory for segments of `stepCount` tokens a lane.
    package init(
      _ attention: RelativeAttention, stepCount: Int, isScoring: Bool, engine: ComputeEngine, in arena: Arena
    ) {
      let (keyCount, width) = (attention.memory + stepCount, attention.headWidth)
      func scores() -> Matrix { arena.matrix(rowCount: stepCount, columnCount: keyCount) }
      func rows(_ count: Int) -> Matrix { arena.matrix(rowCount: count, columnCount: width) }
      threads = (0..<engine.threadCount).map { _ in
        ThreadScratch(
          scores: scores(), positions: scores(), dropped: scores(),
          gradient: isScoring ? arena.matrix(rowCount: 0, columnCount: keyCount) : scores(),
          content: rows(stepCount), result: rows(stepCount),
          operands: Operands(
            content: rows(stepCount), positional: rows(stepCount), key: rows(keyCount), value: rows(keyCount),
            position: rows(keyCount), scores: scores(), output: rows(stepCount)))
      }
    }
  }

  /// Sets o of all tokens, T·B × A.
  package func forward(
    _ rows: Rows, mask: Mask, into output: Matrix, workspace: Workspace, engine: ComputeEngine
  ) {
    let laneCount = mask.filled.rowCount
    engine.forEachPart(of: headCount * laneCount, minimumPartCount: 1) { worker, parts in
      let thread = workspace.thread(worker, rows, laneCount: laneCount)
      for part in parts {
        let place = Place(head: part / laneCount, lane: part % laneCount)
        let operands = computeScores(rows, at: place, mask: mask, thread, worker)
        let probabilities = worker.operand(drop(at: place, mask, thread), at: thread.operands.scores.data)
        worker.multiply(probabilities, operands.value, into: thread.result)
        view(output, at: place, laneCount).copy(from: thread.result)
      }
    }
  }

  /// Sets the gradients of query, key and value, and adds those of position and biases, from dL/do.
  ///
  /// A head's lanes are added one after the other, so that sums do not depend on the number of threads.
  package func backward(
    _ rows: Rows, outputGradient: Matrix, mask: Mask, into gradients: Rows, workspace: Workspace,
    engine: ComputeEngine
  ) {
    let laneCount = mask.filled.rowCount
    engine.forEachPart(of: headCount, minimumPartCount: 1) { worker, heads in
      let thread = workspace.thread(worker, rows, laneCount: laneCount)
      for head in heads {
        for lane in 0..<laneCount {
          let place = Place(head: head, lane: lane)
          let operands = computeScores(rows, at: place, mask: mask, thread, worker)
          backward(
            operands, outputGradient: view(outputGradient, at: place, laneCount), at: place, mask: mask,
            into: gradients, thread, worker)
        }
      }
    }
  }
}

extension RelativeAttention {
  /// A head of a lane.
  private struct Place {
    let head: Int
    let lane: Int
  }

  private struct HeadOperands {
    let content: Operand
    let positional: Operand
    let key: Operand
    let value: Operand
    let position: Operand
  }

  private var scale: Float { 1 / Float(headWidth).squareRoot() }

  private func columns(_ head: Int) -> Range<Int> { head * headWidth..<(head + 1) * headWidth }

  /// The rows of one lane and the columns of one head.
  private func view(_ matrix: Matrix, at place: Place, _ laneCount: Int) -> Matrix {
    let columns = matrix.columns(columns(place.head))
    return Matrix(
      columns.data + place.lane * matrix.stride, rowCount: matrix.rowCount / laneCount,
      columnCount: headWidth,
      stride: matrix.stride * laneCount)
  }

  /// The keys that row `step` sees.
  private func visible(_ step: Int, at place: Place, _ mask: Mask) -> Range<Int> {
    let oldest = memory - Int(mask.filled[place.lane, 0])
    return max(oldest, mask.hasSameLength ? step : 0)..<memory + step + 1
  }

  /// Sets `thread.scores` to the probabilities, 0 where a key is not seen.
  private func computeScores(
    _ rows: Rows, at place: Place, mask: Mask, _ thread: Workspace.ThreadScratch, _ worker: Worker
  ) -> HeadOperands {
    let laneCount = mask.filled.rowCount
    let columns = columns(place.head)
    let query = view(rows.query, at: place, laneCount)
    func biased(_ bias: Matrix, at memory: Matrix) -> Operand {
      let bias = bias.columns(columns)
      for row in 0..<query.rowCount {
        CKernels_scale(query.row(row), scale, thread.content.row(row), headWidth)
        CKernels_addScaled(bias.data, scale, thread.content.row(row), headWidth)
      }
      return worker.operand(thread.content, at: memory.data)
    }
    let memories = thread.operands
    let operands = HeadOperands(
      content: biased(rows.contentBias, at: memories.content),
      positional: biased(rows.positionBias, at: memories.positional),
      key: worker.operand(view(rows.key, at: place, laneCount), at: memories.key.data),
      value: worker.operand(view(rows.value, at: place, laneCount), at: memories.value.data),
      position: worker.operand(rows.position.columns(columns), at: memories.position.data))
    worker.multiply(operands.content, operands.key.transposed, into: thread.scores)
    worker.multiply(operands.positional, operands.position.transposed, into: thread.positions)
    let stepCount = query.rowCount
    for step in 0..<stepCount {
      let row = thread.scores.row(step)
      let seen = visible(step, at: place, mask)
      var largest: Float = 0
      // The key j of row i is at distance M + i − j, which is column T − 1 − i + j.
      let sum = CKernels_softmaxExponentials(
        row + seen.lowerBound, thread.positions.row(step) + stepCount - 1 - step + seen.lowerBound,
        seen.count,
        &largest, thread.dropped.row(step) + seen.lowerBound)
      row.update(repeating: 0, count: thread.scores.columnCount)
      CKernels_scale(thread.dropped.row(step) + seen.lowerBound, 1 / sum, row + seen.lowerBound, seen.count)
    }
    return operands
  }

  /// The probabilities with some dropped, in `thread.dropped` where there is a dropout.
  private func drop(at place: Place, _ mask: Mask, _ thread: Workspace.ThreadScratch) -> Matrix {
    guard mask.dropout != nil, dropout.rate > 0 else { return thread.scores }
    thread.dropped.copy(from: thread.scores)
    drop(thread.dropped, at: place, mask)
    return thread.dropped
  }

  private func drop(_ values: Matrix, at place: Place, _ mask: Mask) {
    guard let (key, firstLane, firstTime) = mask.dropout else { return }
    let headKey = key.derived(place.head).derived(firstLane + place.lane)
    dropout.applyToRows(values, firstTime: firstTime, key: headKey)
  }

  private func backward(
    _ operands: HeadOperands, outputGradient: Matrix, at place: Place, mask: Mask, into gradients: Rows,
    _ thread: Workspace.ThreadScratch, _ worker: Worker
  ) {
    let laneCount = mask.filled.rowCount
    let (stepCount, keyCount) = (thread.scores.rowCount, thread.scores.columnCount)
    let memories = thread.operands
    let output = worker.operand(outputGradient, at: memories.output.data)
    let used = worker.operand(drop(at: place, mask, thread), at: memories.scores.data)
    worker.multiply(used.transposed, output, into: view(gradients.value, at: place, laneCount))
    worker.multiply(output, operands.value.transposed, into: thread.gradient)
    if dropout.rate > 0 { drop(thread.gradient, at: place, mask) }
    for step in 0..<stepCount {
      let (probabilities, gradient) = (thread.scores.row(step), thread.gradient.row(step))
      let scoreGradient = thread.dropped.row(step)
      CKernels_multiply(probabilities, gradient, scoreGradient, keyCount)
      CKernels_addScaled(
        probabilities, -CKernels_dot(probabilities, gradient, keyCount), scoreGradient, keyCount)
      let byDistance = thread.positions.row(step)
      let offset = stepCount - 1 - step
      byDistance.update(repeating: 0, count: offset)
      (byDistance + offset).update(from: scoreGradient, count: keyCount - offset)
    }
    let content = worker.operand(thread.dropped, at: memories.scores.data)
    worker.multiply(content.transposed, operands.content, into: view(gradients.key, at: place, laneCount))
    worker.multiply(content, operands.key, into: thread.content)
    let positional = worker.operand(thread.positions, at: memories.scores.data)
    let columns = columns(place.head)
    worker.multiply(
      positional.transposed, operands.positional, into: gradients.position.columns(columns), adding: true)
    worker.multiply(positional, operands.position, into: thread.result)
    let query = view(gradients.query, at: place, laneCount)
    let (contentBias, positionBias) = (
      gradients.contentBias.columns(columns), gradients.positionBias.columns(columns)
    )
    for row in 0..<stepCount {
      let (content, position) = (thread.content.row(row), thread.result.row(row))
      CKernels_addScaled(content, scale, contentBias.data, headWidth)
      CKernels_addScaled(position, scale, positionBias.data, headWidth)
      CKernels_scale(content, scale, query.row(row), headWidth)
      CKernels_addScaled(position, scale, query.row(row), headWidth)
    }
  }
}
