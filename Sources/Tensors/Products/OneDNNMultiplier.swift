#if canImport(CDNNL)
  import CDNNL
  import CKernels

  /// Products by oneDNN: bfloat16 or fp32 operands, right-hand matrices in the library's preferred layout.
  ///
  /// Each call runs on the calling thread alone: OpenMP, which oneDNN is built on, is limited to one thread.
  ///
  /// `@unchecked Sendable`: the library's engine may be used from all threads at once.
  final class OneDNNMultiplier: Multiplier, @unchecked Sendable {
    let name = "onednn"
    let precision: Precision
    // The library's fast products need contiguous matrices.
    let readsViews = false
    private let engine: dnnl_engine_t
    private let workers: [OneDNNWorker]

    /// Nil where the processor has no instructions for products of this precision.
    init?(precision: Precision, threadCount: Int) {
      let needed = precision == .bfloat16 ? dnnl_cpu_isa_avx512_core_bf16 : dnnl_cpu_isa_avx2
      guard dnnl_get_effective_cpu_isa().rawValue & needed.rawValue == needed.rawValue else { return nil }
      var engine: dnnl_engine_t?
      check(dnnl_engine_create(&engine, dnnl_cpu, 0), "an engine")
      guard let engine else { return nil }
      self.engine = engine
      self.precision = precision
      workers = (0..<threadCount).map { _ in OneDNNWorker(engine: engine, precision: precision) }
    }

    deinit { dnnl_engine_destroy(engine) }

    var version: String {
      let version = dnnl_version().pointee
      return "oneDNN \(version.major).\(version.minor).\(version.patch)"
    }

    var cpuLevel: String {
      let isa = dnnl_get_effective_cpu_isa()
      let names = [
        (dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"),
        (dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"),
        (dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"), (dnnl_cpu_isa_avx512_core, "avx512_core"),
        (dnnl_cpu_isa_avx2_vnni, "avx2_vnni"), (dnnl_cpu_isa_avx2, "avx2"),
      ]
      return names.first { $0.0 == isa }?.1 ?? "isa \(isa.rawValue)"
    }

    func prepareThread() { omp_set_num_threads(1) }

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
    private let engine: dnnl_engine_t
    private let precision: Precision
    private var stream: dnnl_stream_t?
    private var products: [ProductShape: OneDNNPrimitive] = [:]
    private var reorders: [BlockShape: OneDNNPrimitive] = [:]
    private var packedDescriptions: [PackedShape: dnnl_memory_desc_t] = [:]
    private let scratch = TemporaryMemory()
    private let tile = TemporaryMemory()
    private var scratchByteCount = 0

    init(engine: dnnl_engine_t, precision: Precision) {
      self.engine = engine
      self.precision = precision
      check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags.rawValue), "a stream")
    }

    deinit {
      dnnl_stream_destroy(stream)
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

    private var type: dnnl_data_type_t { precision == .bfloat16 ? dnnl_bf16 : dnnl_f32 }

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
      primitive.execute(a.data, b, UnsafeMutableRawPointer(c.data), scratch: scratchData, on: stream)
    }

    func pack(_ block: PackedBlock) {
      guard let memory = block.memory else { return }
      let source = block.source
      let shape = BlockShape(
        rowCount: source.rowCount, columnCount: source.columnCount,
        source: Strides(row: source.rowStride, column: source.columnStride))
      let primitive = reorders[shape] ?? makeReorder(shape)
      primitive.execute(source.data, memory, scratch: scratchData, on: stream)
    }

    func packedByteCount(rowCount: Int, columnCount: Int) -> Int {
      var description = packedDescription(rowCount: rowCount, columnCount: columnCount)
      return dnnl_memory_desc_get_size(&description)
    }

    /// The preferred layout for a product of many rows; it is the same for few rows.
    private func packedDescription(rowCount: Int, columnCount: Int) -> dnnl_memory_desc_t {
      let key = PackedShape(rowCount: rowCount, columnCount: columnCount)
      if let known = packedDescriptions[key] { return known }
      let usualRowCount = 64
      let shape = ProductShape(
        rowCount: usualRowCount, columnCount: columnCount, depth: rowCount,
        left: Strides(row: rowCount, column: 1), right: nil, adding: false)
      let description = productDescription(shape, packed: nil)
      defer { dnnl_primitive_desc_destroy(description) }
      let packed = dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0).pointee
      packedDescriptions[key] = packed
      return packed
    }

    private func matrix(
      _ rowCount: Int, _ columnCount: Int, _ strides: Strides, _ type: dnnl_data_type_t
    ) -> dnnl_memory_desc_t {
      var description = dnnl_memory_desc_t()
      check(
        CDNNL_matrix(
          &description, Int64(rowCount), Int64(columnCount), Int64(strides.row), Int64(strides.column), type),
        "a matrix of \(rowCount) × \(columnCount)")
      return description
    }

    private func productDescription(
      _ shape: ProductShape, packed: dnnl_memory_desc_t?
    ) -> dnnl_primitive_desc_t? {
      var left = matrix(shape.rowCount, shape.depth, shape.left, type)
      var result = matrix(
        shape.rowCount, shape.columnCount, Strides(row: shape.columnCount, column: 1), dnnl_f32)
      var right = dnnl_memory_desc_t()
      if let strides = shape.right {
        right = matrix(shape.depth, shape.columnCount, strides, type)
      } else if let packed {
        right = packed
      } else {
        check(
          CDNNL_packedMatrix(&right, Int64(shape.depth), Int64(shape.columnCount), type), "a packed matrix")
      }
      var operation = dnnl_matmul_desc_t()
      check(dnnl_matmul_desc_init(&operation, &left, &right, nil, &result), "a product")
      var attributes: dnnl_primitive_attr_t?
      var sum: dnnl_post_ops_t?
      check(dnnl_primitive_attr_create(&attributes), "attributes")
      check(dnnl_post_ops_create(&sum), "a sum")
      defer {
        dnnl_post_ops_destroy(sum)
        dnnl_primitive_attr_destroy(attributes)
      }
      check(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user), "scratch memory")
      if shape.adding {
        check(dnnl_post_ops_append_sum(sum, 1), "a sum")
        check(dnnl_primitive_attr_set_post_ops(attributes, sum), "a sum")
      }
      var description: dnnl_primitive_desc_t?
      check(
        dnnl_primitive_desc_create(&description, &operation, attributes, engine, nil), "a product of \(shape)"
      )
      return description
    }

    private func makeProduct(_ shape: ProductShape) -> OneDNNPrimitive {
      let packed =
        shape.right == nil ? packedDescription(rowCount: shape.depth, columnCount: shape.columnCount) : nil
      let description = productDescription(shape, packed: packed)
      defer { dnnl_primitive_desc_destroy(description) }
      scratchByteCount = max(
        scratchByteCount,
        dnnl_memory_desc_get_size(
          dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0)))
      let primitive = OneDNNPrimitive(
        description,
        arguments: [
          (DNNL_ARG_SRC, dnnl_query_src_md), (DNNL_ARG_WEIGHTS, dnnl_query_weights_md),
          (DNNL_ARG_DST, dnnl_query_dst_md),
        ], engine: engine)
      products[shape] = primitive
      return primitive
    }

    private func makeReorder(_ shape: BlockShape) -> OneDNNPrimitive {
      var source = matrix(shape.rowCount, shape.columnCount, shape.source, dnnl_f32)
      var packed = packedDescription(rowCount: shape.rowCount, columnCount: shape.columnCount)
      var description: dnnl_primitive_desc_t?
      check(
        dnnl_reorder_primitive_desc_create(&description, &source, engine, &packed, engine, nil),
        "the packing of \(shape)")
      defer { dnnl_primitive_desc_destroy(description) }
      let primitive = OneDNNPrimitive(
        description, arguments: [(DNNL_ARG_FROM, dnnl_query_src_md), (DNNL_ARG_TO, dnnl_query_dst_md)],
        engine: engine)
      reorders[shape] = primitive
      return primitive
    }
  }

  /// A primitive with its arguments, whose data pointers are set for every call.
  private final class OneDNNPrimitive {
    private var primitive: dnnl_primitive_t?
    private var arguments: [dnnl_exec_arg_t] = []

    init(
      _ description: dnnl_primitive_desc_t?, arguments queries: [(index: CInt, query: dnnl_query_t)],
      engine: dnnl_engine_t
    ) {
      check(dnnl_primitive_create(&primitive, description), "a primitive")
      for (index, query) in queries + [(DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md)] {
        var memory: dnnl_memory_t?
        check(
          dnnl_memory_create(
            &memory, dnnl_primitive_desc_query_md(description, query, 0), engine, nil), "an argument")
        arguments.append(dnnl_exec_arg_t(arg: index, memory: memory))
      }
    }

    deinit {
      for argument in arguments { dnnl_memory_destroy(argument.memory) }
      dnnl_primitive_destroy(primitive)
    }

    /// The data of the arguments in their order; a reorder has two, a product three.
    func execute(
      _ first: UnsafeMutableRawPointer, _ second: UnsafeMutableRawPointer,
      _ third: UnsafeMutableRawPointer? = nil, scratch: UnsafeMutableRawPointer, on stream: dnnl_stream_t?
    ) {
      point(0, at: first, stream)
      point(1, at: second, stream)
      if let third { point(2, at: third, stream) }
      point(arguments.count - 1, at: scratch, stream)
      check(
        dnnl_primitive_execute(primitive, stream, CInt(arguments.count), arguments),
        "the execution of a product")
    }

    private func point(_ index: Int, at data: UnsafeMutableRawPointer, _ stream: dnnl_stream_t?) {
      check(dnnl_memory_set_data_handle_v2(arguments[index].memory, data, stream), "an argument")
    }
  }

  /// oneDNN fails only where memory is exhausted or this file has a bug; neither is recoverable.
  private func check(_ status: dnnl_status_t, _ what: @autoclosure () -> String) {
    precondition(status == dnnl_success, "oneDNN cannot make \(what()): status \(status.rawValue)")
  }
#endif
