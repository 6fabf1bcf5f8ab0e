import CKernels

/// The loops of `CKernels` on whole matrices.
///
/// Each splits rows or columns over the engine's threads where there is enough work.
extension ComputeEngine {
  /// The minimum number of elements per thread.
  private static let elementsPerPart = 1 << 15

  /// Runs `body` for parts of the rows of a matrix.
  package func forEachRowPart(of matrix: Matrix, _ body: @Sendable (Range<Int>) -> Void) {
    let minimum = max(1, Self.elementsPerPart / max(1, matrix.columnCount))
    forEachPart(of: matrix.rowCount, minimumPartCount: minimum, body)
  }

  /// `matrix[i] += row` for every row i.
  package func add(row: Matrix, toRowsOf matrix: Matrix) {
    precondition(row.count == matrix.columnCount, "a row of the matrix's width")
    forEachRowPart(of: matrix) { rows in
      for index in rows { CKernels_addScaled(row.data, 1, matrix.row(index), matrix.columnCount) }
    }
  }

  /// `sums[j] += Σᵢ matrix[i, j]`.
  package func addColumnSums(of matrix: Matrix, to sums: Matrix) {
    precondition(sums.count == matrix.columnCount && sums.isContiguous, "sums of the matrix's width")
    let minimum = max(16, Self.elementsPerPart / max(1, matrix.rowCount))
    forEachPart(of: matrix.columnCount, minimumPartCount: minimum) { columns in
      CKernels_addColumnSums(
        matrix.data + columns.lowerBound, matrix.rowCount, columns.count, matrix.stride,
        sums.data + columns.lowerBound)
    }
  }

  /// `y += x`.
  package func add(_ x: Matrix, to y: Matrix) {
    precondition(x.rowCount == y.rowCount && x.columnCount == y.columnCount, "matrices of the same shape")
    forEachRowPart(of: y) { rows in
      for index in rows { CKernels_addScaled(x.row(index), 1, y.row(index), y.columnCount) }
    }
  }

  /// `y[i] = scales[i, column] · x[i]` for every row i.
  package func scaleRows(of x: Matrix, by scales: Matrix, column: Int, into y: Matrix) {
    precondition(x.rowCount == y.rowCount && x.columnCount == y.columnCount, "matrices of the same shape")
    precondition(scales.rowCount == x.rowCount && column < scales.columnCount, "a scale for each row")
    forEachRowPart(of: y) { rows in
      for index in rows { CKernels_scale(x.row(index), scales[index, column], y.row(index), y.columnCount) }
    }
  }

  /// `dots[i, 0] = Σⱼ x[i, j] · y[i, j]`.
  package func rowDots(_ x: Matrix, _ y: Matrix, into dots: Matrix) {
    precondition(x.rowCount == y.rowCount && x.columnCount == y.columnCount, "matrices of the same shape")
    precondition(dots.rowCount == x.rowCount, "a dot product for each row")
    forEachRowPart(of: x) { rows in
      for index in rows { dots[index, 0] = CKernels_dot(x.row(index), y.row(index), x.columnCount) }
    }
  }

  /// `z = x ⊙ y`.
  package func multiplyElements(_ x: Matrix, _ y: Matrix, into z: Matrix) {
    precondition(
      x.rowCount == y.rowCount && x.columnCount == y.columnCount && z.rowCount == x.rowCount
        && z.columnCount == x.columnCount, "matrices of the same shape")
    forEachRowPart(of: z) { rows in
      for index in rows { CKernels_multiply(x.row(index), y.row(index), z.row(index), z.columnCount) }
    }
  }

  /// `values = max(values + bias, 0)`, the bias added to every row.
  package func addBiasAndRectify(_ values: Matrix, bias: Matrix) {
    precondition(bias.count == values.columnCount, "a bias of the values' width")
    forEachRowPart(of: values) { rows in
      for index in rows { CKernels_biasReLU(values.row(index), bias.data, values.columnCount) }
    }
  }

  /// Keeps the gradient where the rectified value is positive, zero elsewhere.
  package func rectifyGradient(_ gradient: Matrix, activated: Matrix) {
    precondition(
      gradient.rowCount == activated.rowCount && gradient.columnCount == activated.columnCount,
      "matrices of the same shape")
    forEachRowPart(of: gradient) { rows in
      for index in rows {
        CKernels_reluBackward(gradient.row(index), activated.row(index), gradient.columnCount)
      }
    }
  }

  /// `output[i] += projected[i, 0 ..< width] + Σₖ context[i, k] · projected[i, (k+1)·width ..< (k+2)·width]`, width
  /// being the output's.
  package func contract(context: Matrix, projected: Matrix, addingTo output: Matrix) {
    precondition(
      projected.columnCount == (context.columnCount + 1) * output.columnCount
        && projected.rowCount == output.rowCount && context.rowCount == output.rowCount,
      "shapes of a contraction")
    forEachRowPart(of: projected) { rows in
      for index in rows {
        CKernels_contract(
          context.row(index), projected.row(index), output.row(index), context.columnCount, output.columnCount
        )
      }
    }
  }

  /// `contextGradient[i, k] += Σₙ projected[i, (k+1)·width + n] · outputGradient[i, n]`:
  /// the derivative of `contract`.
  package func contractBackward(projected: Matrix, outputGradient: Matrix, addingTo contextGradient: Matrix) {
    precondition(
      projected.columnCount == (contextGradient.columnCount + 1) * outputGradient.columnCount
        && projected.rowCount == outputGradient.rowCount
        && contextGradient.rowCount == outputGradient.rowCount, "shapes of a contraction")
    let width = outputGradient.columnCount
    forEachRowPart(of: projected) { rows in
      for index in rows {
        CKernels_contractBackward(
          projected.row(index) + width, outputGradient.row(index), contextGradient.row(index),
          contextGradient.columnCount, width)
      }
    }
  }

  /// `expanded[i] = x[i], factors[i, 0] · x[i], factors[i, 1] · x[i], …`.
  package func expand(_ x: Matrix, by factors: Matrix, into expanded: Matrix) {
    precondition(
      expanded.columnCount == (factors.columnCount + 1) * x.columnCount && expanded.rowCount == x.rowCount
        && factors.rowCount == x.rowCount, "shapes of an expansion")
    let width = x.columnCount
    forEachRowPart(of: expanded) { rows in
      for index in rows {
        expanded.row(index).update(from: x.row(index), count: width)
        for k in 0..<factors.columnCount {
          CKernels_scale(x.row(index), factors[index, k], expanded.row(index) + (k + 1) * width, width)
        }
      }
    }
  }
}

extension ComputeEngine {
  /// Fills `count` elements uniformly in (−limit, limit), each a function of the key and its index alone.
  package func fillUniformly(
    _ values: UnsafeMutablePointer<Float>, count: Int, limit: Float, key: RandomKey
  ) {
    let target = Matrix(values, rowCount: 1, columnCount: count)
    forEachPart(of: count, minimumPartCount: 1 << 16) { range in
      CKernels_uniform(
        target.data + range.lowerBound, range.count, key.bits, UInt64(range.lowerBound), limit)
    }
  }
  /// Fills `count` elements with approximately normal numbers, each a function of the key and its index alone.
  package func fillNormally(
    _ values: UnsafeMutablePointer<Float>, count: Int, mean: Float, deviation: Float, key: RandomKey
  ) {
    let target = Matrix(values, rowCount: 1, columnCount: count)
    forEachPart(of: count, minimumPartCount: 1 << 14) { range in
      CKernels_normal(
        target.data + range.lowerBound, range.count, key.bits, UInt64(range.lowerBound), mean, deviation)
    }
  }
}
