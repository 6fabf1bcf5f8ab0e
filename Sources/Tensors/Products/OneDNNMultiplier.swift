#if canImport(CDNNL)
  import CDNNL
  import CKernels
  import Platform

  /// Products by oneDNN: bfloat16 or fp32 operands, right-hand matrices in the library's preferred layout.
  ///
  /// Each call runs on the calling thread alone: OpenMP, which oneDNN is built on, is limited to one thread.
  ///
  /// `@unchecked Sendable`: the library's engine may be used from all threads at once.
  final class OneDNNMultiplier: Multiplier, @unchecked Sendable {
    let library = ProductLibrary.oneDNN
    let precision: Precision
    // The library's fast products need contiguous matrices.
    let readsViews = false
    private let engine: CDNNL_Engine
    private let workers: [OneDNNWorker]

    /// Nil where the processor has no instructions for products of this precision.
    init?(precision: Precision, threadCount: Int) {
      guard CDNNL_canMultiply(precision.type) else { return nil }
      let engine = created("an engine") { CDNNL_createEngine(&$0) }
      self.engine = engine
      self.precision = precision
      workers = (0..<threadCount).map { _ in OneDNNWorker(engine: engine, precision: precision) }
    }

    deinit { CDNNL_destroyEngine(engine) }

    var version: String {
      let version = CDNNL_version()
      return "oneDNN \(version.major).\(version.minor).\(version.patch)"
    }

    var cpuLevel: String { String(cString: CDNNL_instructionSet()) }

    func prepareThread() { CDNNL_limitThreads(1) }

    func multiply(_ a: Operand, _ b: Operand, into c: Matrix, adding: Bool, worker: Int) {
      guard c.count > 0 else { return }
      workers[worker].multiply(a, b.data, strides: (b.rowStride, b.columnStride), into: c, adding: adding)
    }

    func multiply(_ a: Operand, _ b: PackedBlock, into c: Matrix, adding: Bool, worker: Int) {
      guard c.count > 0 else { return }
      guard let memory = b.memory else { preconditionFailure("a block that is not packed") }
      workers[worker].multiply(a, memory, strides: nil, into: c, adding: adding)
    }

    func packedByteCount(rowCount: Int, columnCount: Int) -> Int {
      workers[0].packedByteCount(rowCount: rowCount, columnCount: columnCount)
    }

    func pack(_ block: PackedBlock, worker: Int) { workers[worker].pack(block) }
  }

  /// One thread's primitives, created at the first use of a shape, and its scratch memory.
  ///
  /// `@unchecked Sendable`: one thread uses it.
  private final class OneDNNWorker: @unchecked Sendable {
    private let engine: CDNNL_Engine
    private let precision: Precision
    private let stream: CDNNL_Stream
    private var products: [ProductShape: OneDNNPrimitive] = [:]
    private var reorders: [BlockShape: OneDNNPrimitive] = [:]
    private var packedDescriptions: [PackedShape: CDNNL_Description] = [:]
    private let scratch = TemporaryMemory()
    private let tile = TemporaryMemory()
    private var scratchByteCount = 0

    init(engine: CDNNL_Engine, precision: Precision) {
      self.engine = engine
      self.precision = precision
      stream = created("a stream") { CDNNL_createStream(&$0, engine) }
    }

    deinit {
      packedDescriptions.values.forEach(CDNNL_destroyDescription)
      CDNNL_destroyStream(stream)
    }

    private struct ProductShape: Hashable {
      let rowCount: Int
      let columnCount: Int
      let depth: Int
      let left: Strides
      let right: Strides?
      let adding: Bool
    }

    private struct Strides: Hashable {
      let row: Int
      let column: Int
    }

    private struct PackedShape: Hashable {
      let rowCount: Int
      let columnCount: Int
    }

    private struct BlockShape: Hashable {
      let rowCount: Int
      let columnCount: Int
      let source: Strides
    }

    private var scratchData: UnsafeMutableRawPointer { scratch.memory(byteCount: scratchByteCount) }

    /// `strides` are those of b; nil when it is packed.
    func multiply(
      _ a: Operand, _ b: UnsafeMutableRawPointer, strides: (row: Int, column: Int)?, into c: Matrix,
      adding: Bool
    ) {
      precondition(a.precision == precision, "a left operand in the engine's precision")
      guard c.isContiguous else {
        let memory = tile.memory(byteCount: c.count * MemoryLayout<Float>.stride)
        let result = Matrix(
          memory.assumingMemoryBound(to: Float.self), rowCount: c.rowCount, columnCount: c.columnCount)
        multiply(a, b, strides: strides, into: result, adding: false)
        for row in 0..<c.rowCount {
          if adding {
            CKernels_addScaled(result.row(row), 1, c.row(row), c.columnCount)
          } else {
            c.row(row).update(from: result.row(row), count: c.columnCount)
          }
        }
        return
      }
      let shape = ProductShape(
        rowCount: c.rowCount, columnCount: c.columnCount, depth: a.columnCount,
        left: Strides(row: a.rowStride, column: a.columnStride),
        right: strides.map { Strides(row: $0.row, column: $0.column) }, adding: adding)
      let primitive = products[shape] ?? makeProduct(shape)
      primitive.execute(
        CDNNL_Data(source: a.data, weights: b, destination: c.data, scratch: scratchData), on: stream)
    }

    func pack(_ block: PackedBlock) {
      guard let memory = block.memory else { return }
      let source = block.source
      let shape = BlockShape(
        rowCount: source.rowCount, columnCount: source.columnCount,
        source: Strides(row: source.rowStride, column: source.columnStride))
      let primitive = reorders[shape] ?? makeReorder(shape)
      primitive.execute(
        CDNNL_Data(source: source.data, weights: nil, destination: memory, scratch: scratchData), on: stream)
    }

    func packedByteCount(rowCount: Int, columnCount: Int) -> Int {
      CDNNL_byteCount(packedDescription(rowCount: rowCount, columnCount: columnCount))
    }

    /// The preferred layout for a product of many rows; it is the same for few rows.
    ///
    /// The worker owns it.
    private func packedDescription(rowCount: Int, columnCount: Int) -> CDNNL_Description {
      let key = PackedShape(rowCount: rowCount, columnCount: columnCount)
      if let known = packedDescriptions[key] { return known }
      let usualRowCount = 64
      let shape = ProductShape(
        rowCount: usualRowCount, columnCount: columnCount, depth: rowCount,
        left: Strides(row: rowCount, column: 1), right: nil, adding: false)
      let anyLayout = created("a packed matrix of \(rowCount) × \(columnCount)") {
        CDNNL_describePackedMatrix(&$0, Int64(rowCount), Int64(columnCount), precision.type)
      }
      defer { CDNNL_destroyDescription(anyLayout) }
      let product = makeOperation(shape, right: anyLayout)
      defer { CDNNL_destroyOperation(product) }
      let packed = created("a layout") { CDNNL_copyDescription(&$0, product, CDNNL_weights) }
      packedDescriptions[key] = packed
      return packed
    }

    /// The caller destroys the description.
    private func matrix(
      _ rowCount: Int, _ columnCount: Int, _ strides: Strides, _ type: CDNNL_Type
    ) -> CDNNL_Description {
      created("a matrix of \(rowCount) × \(columnCount)") {
        CDNNL_describeMatrix(
          &$0, Int64(rowCount), Int64(columnCount), Int64(strides.row), Int64(strides.column), type)
      }
    }

    /// The caller destroys the operation.
    private func makeOperation(_ shape: ProductShape, right: CDNNL_Description) -> CDNNL_Operation {
      let left = matrix(shape.rowCount, shape.depth, shape.left, precision.type)
      defer { CDNNL_destroyDescription(left) }
      let result = matrix(
        shape.rowCount, shape.columnCount, Strides(row: shape.columnCount, column: 1), CDNNL_float32)
      defer { CDNNL_destroyDescription(result) }
      return created("a product of \(shape)") {
        CDNNL_createProduct(&$0, engine, left, right, result, shape.adding)
      }
    }

    private func makeProduct(_ shape: ProductShape) -> OneDNNPrimitive {
      let operation: CDNNL_Operation
      if let strides = shape.right {
        let right = matrix(shape.depth, shape.columnCount, strides, precision.type)
        defer { CDNNL_destroyDescription(right) }
        operation = makeOperation(shape, right: right)
      } else {
        operation = makeOperation(
          shape, right: packedDescription(rowCount: shape.depth, columnCount: shape.columnCount))
      }
      defer { CDNNL_destroyOperation(operation) }
      scratchByteCount = max(scratchByteCount, CDNNL_scratchByteCount(operation))
      let primitive = OneDNNPrimitive(
        operation, roles: [CDNNL_source, CDNNL_weights, CDNNL_destination, CDNNL_scratch], engine: engine)
      products[shape] = primitive
      return primitive
    }

    private func makeReorder(_ shape: BlockShape) -> OneDNNPrimitive {
      let source = matrix(shape.rowCount, shape.columnCount, shape.source, CDNNL_float32)
      defer { CDNNL_destroyDescription(source) }
      let packed = packedDescription(rowCount: shape.rowCount, columnCount: shape.columnCount)
      let operation = created("the packing of \(shape)") {
        CDNNL_createReorder(&$0, engine, source, packed)
      }
      defer { CDNNL_destroyOperation(operation) }
      let primitive = OneDNNPrimitive(
        operation, roles: [CDNNL_source, CDNNL_destination, CDNNL_scratch], engine: engine)
      reorders[shape] = primitive
      return primitive
    }
  }

  /// A primitive with its arguments, whose data pointers are set for every call.
  private final class OneDNNPrimitive {
    private let primitive: CDNNL_Primitive

    init(_ operation: CDNNL_Operation, roles: [CDNNL_Role], engine: CDNNL_Engine) {
      primitive = created("a primitive") {
        CDNNL_createPrimitive(&$0, engine, operation, roles, CInt(roles.count))
      }
    }

    deinit { CDNNL_destroyPrimitive(primitive) }

    func execute(_ data: CDNNL_Data, on stream: CDNNL_Stream) {
      check(CDNNL_execute(primitive, stream, data), "the execution of a product")
    }
  }

  extension Precision {
    fileprivate var type: CDNNL_Type { self == .bfloat16 ? CDNNL_bfloat16 : CDNNL_float32 }
  }

  /// The handle that `create` returns through its argument; a failure ends the process.
  private func created(
    _ what: @autoclosure () -> String, _ create: (inout OpaquePointer?) -> CInt
  ) -> OpaquePointer {
    var result: OpaquePointer?
    check(create(&result), what())
    guard let result else { preconditionFailure("oneDNN made nothing in place of \(what())") }
    return result
  }

  /// oneDNN fails only where memory is exhausted or this file has a bug; neither is recoverable.
  private func check(_ status: CInt, _ what: @autoclosure () -> String) {
    if status == CDNNL_outOfMemory { SystemMemory.refuse(what()) }
    precondition(status == 0, "oneDNN cannot make \(what()): status \(status)")
  }
#endif
