import CKernels
import Tensors

/// A gate between two values of one width: `y = z ⊙ h + (1 − z) ⊙ x`.
///
/// It is the full multiplicative interaction of the context z with the input [h, x] whose only entries are
/// `W[k, h_k, k] = 1`, `W[k, x_k, k] = −1` and `V[x_k, k] = 1`, so `W'(z)` is diag(z) above diag(1 − z); it has no weights of
/// its own. With x = 0 it is gating, `a ⊙ h`, whose W' is diag(a).
package struct GatedResidual: Sendable {
  /// A gate; z, h and x are arguments of each call.
  package init() {}

  /// `output = gate ⊙ new + (1 − gate) ⊙ old`; all rows × width.
  package func forward(
    gate: Matrix, new: Matrix, old: Matrix, into output: Matrix, engine: ComputeEngine
  ) {
    let width = output.columnCount
    engine.forEachRowPart(of: output) { rows in
      for row in rows {
        let y = output.row(row)
        y.update(from: new.row(row), count: width)
        CKernels_addScaled(old.row(row), -1, y, width)
        CKernels_multiply(y, gate.row(row), y, width)
        CKernels_addScaled(old.row(row), 1, y, width)
      }
    }
  }

  /// Sets the three gradients: `dz = dy ⊙ (h − x)`, `dh = dy ⊙ z`, `dx = dy ⊙ (1 − z)`.
  package func backward(
    gate: Matrix, new: Matrix, old: Matrix, outputGradient: Matrix, intoGate gateGradient: Matrix,
    intoNew newGradient: Matrix, intoOld oldGradient: Matrix, engine: ComputeEngine
  ) {
    let width = outputGradient.columnCount
    engine.forEachRowPart(of: outputGradient) { rows in
      for row in rows {
        let dy = outputGradient.row(row)
        CKernels_multiply(dy, gate.row(row), newGradient.row(row), width)
        oldGradient.row(row).update(from: dy, count: width)
        CKernels_addScaled(newGradient.row(row), -1, oldGradient.row(row), width)
        let dz = gateGradient.row(row)
        dz.update(from: new.row(row), count: width)
        CKernels_addScaled(old.row(row), -1, dz, width)
        CKernels_multiply(dz, dy, dz, width)
      }
    }
  }
}
