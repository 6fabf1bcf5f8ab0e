import COpenBLAS

/// Products by OpenBLAS: fp32 on every processor, without packing.
struct OpenBLASMultiplier: Multiplier {
  let library = ProductLibrary.openBLAS
  let precision = Precision.float32
  let readsViews = true

  init() {
    // Its threads would compete with the engine's; the setting applies to the whole process.
    openblas_set_num_threads(1)
  }

  var version: String {
    let fields = String(cString: openblas_get_config()).split(separator: " ")
    return "OpenBLAS \(fields.dropFirst().first ?? "")"
  }

  var cpuLevel: String { String(cString: openblas_get_corename()) }

  func prepareThread() {}

  func multiply(_ a: Operand, _ b: Operand, into c: Matrix, adding: Bool, worker: Int) {
    guard c.count > 0 else { return }
    cblas_sgemm(
      CblasRowMajor, transposition(a), transposition(b), blasint(c.rowCount), blasint(c.columnCount),
      blasint(a.columnCount), 1, elements(a), leadingDimension(a), elements(b), leadingDimension(b),
      adding ? 1 : 0, c.data, blasint(c.stride))
  }

  func multiply(_ a: Operand, _ b: PackedBlock, into c: Matrix, adding: Bool, worker: Int) {
    multiply(a, b.source, into: c, adding: adding, worker: worker)
  }

  func packedByteCount(rowCount: Int, columnCount: Int) -> Int { 0 }

  func pack(_ block: PackedBlock, worker: Int) {}

  private func transposition(_ operand: Operand) -> CBLAS_TRANSPOSE {
    operand.columnStride == 1 ? CblasNoTrans : CblasTrans
  }

  private func leadingDimension(_ operand: Operand) -> blasint {
    // The library checks the stride even of a single row or column.
    let smallest = operand.columnStride == 1 ? operand.columnCount : operand.rowCount
    return blasint(max(operand.columnStride == 1 ? operand.rowStride : operand.columnStride, smallest, 1))
  }

  private func elements(_ operand: Operand) -> UnsafeMutablePointer<Float> {
    precondition(operand.precision == .float32, "OpenBLAS multiplies fp32")
    return operand.data.assumingMemoryBound(to: Float.self)
  }
}
