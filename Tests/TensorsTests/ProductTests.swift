import Tensors
import Testing

/// Matrix products of every library and precision that this build and processor support, on one thread and on several.
@Suite struct ProductTests {
  let arena = Arena()

  struct Engine: CustomTestStringConvertible, Sendable {
    let library: ComputeEngine.Library
    let precision: Precision
    let threadCount: Int
    var testDescription: String { "\(library) \(precision) on \(threadCount)" }
    func make() throws -> ComputeEngine {
      try ComputeEngine(threadCount: threadCount, precision: precision, library: library)
    }
  }

  static let engines = ComputeEngine.Library.allCases.flatMap { library in
    Precision.allCases.flatMap { precision in
      [1, 3].map { Engine(library: library, precision: precision, threadCount: $0) }
    }
  }

  /// m × n × k: single elements, odd numbers, more than one block of rows, panel of columns and block of the depth.
  static let shapes = [(1, 1, 1), (3, 5, 7), (33, 17, 65), (16, 300, 130), (400, 70, 9), (2, 3, 1500)]

  /// A view into wider memory, so that strides matter.
  private func random(_ rows: Int, _ columns: Int, _ name: String) -> Matrix {
    let matrix = arena.matrix(rowCount: rows, columnCount: columns + 3).columns(1..<columns + 1)
    let engine = ComputeEngine()
    for row in 0..<rows {
      engine.fillUniformly(
        matrix.row(row), count: columns, limit: 1, key: RandomKey(seed: 1).derived(name).derived(row))
    }
    return matrix
  }

  private func transposed(_ matrix: Matrix) -> Matrix {
    let result = arena.matrix(rowCount: matrix.columnCount, columnCount: matrix.rowCount)
    for row in 0..<matrix.rowCount {
      for column in 0..<matrix.columnCount { result[column, row] = matrix[row, column] }
    }
    return result
  }

  /// Two bfloat16 factors below 1 are off by up to 2⁻⁹ each, and sums of k such errors by far less than k of them; fp32
  /// sums of k numbers below 1 have an error of up to one unit in the last place per addition.
  private func tolerance(_ engine: ComputeEngine, depth: Int) -> Double {
    switch engine.precision {
    case .bfloat16: 0x1p-7 * Double(depth).squareRoot()
    case .float32: 0x1p-23 * Double(depth) + 5e-7
    }
  }

  private func largestError(_ c: Matrix, _ a: Matrix, _ b: Matrix, before: [Float], adding: Bool) -> Double {
    var largest = 0.0
    for row in 0..<c.rowCount {
      for column in 0..<c.columnCount {
        let product = (0..<a.columnCount).reduce(0.0) { $0 + Double(a[row, $1]) * Double(b[$1, column]) }
        let expected = product + (adding ? Double(before[row * c.columnCount + column]) : 0)
        largest = max(largest, abs(Double(c[row, column]) - expected))
      }
    }
    return largest
  }

  @Test(arguments: engines, shapes)
  func productsEqualTheirDefinition(kind: Engine, shape: (Int, Int, Int)) throws {
    let engine = try kind.make()
    let (m, n, k) = shape
    let (a, b) = (random(m, k, "a"), random(k, n, "b"))
    let plain = engine.packedMatrix([b])
    let fromTransposed = engine.packedMatrix([transposed(b)], transposed: true)
    engine.pack(plain)
    engine.pack(fromTransposed)
    for adding in [false, true] {
      for (index, packed) in [plain, fromTransposed].enumerated() {
        let c = random(m, n, "c")
        let before = c.elements
        engine.multiply(a, packed, into: c, adding: adding)
        let error = largestError(c, a, b, before: before, adding: adding)
        #expect(error <= tolerance(engine, depth: k), "form \(index), adding \(adding)")
      }
    }
  }

  @Test(arguments: engines, shapes)
  func gradientProductsAddTheTransposeTimesTheOther(kind: Engine, shape: (Int, Int, Int)) throws {
    let engine = try kind.make()
    let (m, n, k) = shape
    let (a, b, c) = (random(k, m, "a"), random(k, n, "b"), random(m, n, "c"))
    let before = c.elements
    engine.multiply(transposed: a, b, addingTo: c)
    #expect(
      largestError(c, transposed(a), b, before: before, adding: true) <= tolerance(engine, depth: k))
  }

  @Test(arguments: engines, [(width: 5, height: 7), (70, 20), (256, 3)])
  func severalMatricesSideBySideMultiplyAsOne(kind: Engine, size: (width: Int, height: Int)) throws {
    let engine = try kind.make()
    let slices = (0..<3).map { random(size.height, size.width, "slice \($0)") }
    let whole = arena.matrix(rowCount: size.height, columnCount: 3 * size.width)
    for (index, slice) in slices.enumerated() {
      whole.columns(index * size.width..<(index + 1) * size.width).copy(from: slice)
    }
    let (packed, stacked) = (engine.packedMatrix(slices), engine.packedMatrix(slices, transposed: true))
    engine.pack(packed)
    engine.pack(stacked)

    let a = random(9, size.height, "a")
    let product = arena.matrix(rowCount: 9, columnCount: whole.columnCount)
    engine.multiply(a, packed, into: product)
    #expect(
      largestError(product, a, whole, before: [], adding: false) <= tolerance(engine, depth: size.height))

    let wide = random(9, whole.columnCount, "wide")
    let back = arena.matrix(rowCount: 9, columnCount: size.height)
    engine.multiply(wide, stacked, into: back)
    #expect(
      largestError(back, wide, transposed(whole), before: [], adding: false)
        <= tolerance(engine, depth: whole.columnCount))

    let gradients = slices.map { _ in arena.matrix(rowCount: size.height, columnCount: size.width) }
    let columns = (0..<3).map { wide.columns($0 * size.width..<($0 + 1) * size.width) }
    engine.multiply(transposed: a, columns, addingTo: gradients)
    for (gradient, part) in zip(gradients, columns) {
      #expect(
        largestError(gradient, transposed(a), part, before: gradient.elements, adding: false)
          <= tolerance(engine, depth: 9))
    }
  }

  /// Packed once, multiplied often: changes of the source take effect at the next `pack` where the source is copied.
  @Test(arguments: engines) func packingCopiesTheCurrentValues(kind: Engine) throws {
    let engine = try kind.make()
    let (a, b, c) = (random(4, 6, "a"), random(6, 8, "b"), random(4, 8, "c"))
    let packed = engine.packedMatrix([b])
    engine.pack(packed)
    for row in 0..<6 { for column in 0..<8 { b[row, column] *= -2 } }
    engine.pack(packed)
    engine.multiply(a, packed, into: c)
    #expect(largestError(c, a, b, before: [], adding: false) <= tolerance(engine, depth: 6) * 2)
  }

  @Test(arguments: engines) func productsFlushDenormalsOnEveryThread(kind: Engine) throws {
    let engine = try kind.make()
    let size = 300
    let (a, b, c) = (random(size, size, "a"), random(size, size, "b"), random(size, size, "c"))
    a.fill(Float.leastNormalMagnitude / 4)
    b.fill(1)
    let packed = engine.packedMatrix([b])
    engine.pack(packed)
    engine.multiply(a, packed, into: c)
    #expect(c.elements.allSatisfy { $0 == 0 })
  }

  @Test(arguments: ComputeEngine.Library.allCases, Precision.allCases)
  func resultsDoNotDependOnTheNumberOfThreads(library: ComputeEngine.Library, precision: Precision) throws {
    let (a, b) = (random(70, 40, "a"), random(40, 600, "b"))
    let results = try [1, 2, 5].map { threadCount in
      let engine = try ComputeEngine(threadCount: threadCount, precision: precision, library: library)
      let c = arena.matrix(rowCount: 70, columnCount: 600)
      let packed = engine.packedMatrix([b])
      engine.pack(packed)
      engine.multiply(a, packed, into: c)
      return c.elements
    }
    for result in results { #expect(result.elementsEqual(results[0])) }
  }

  @Test func anEngineSaysWhyItsPrecisionIsAnother() {
    let engine = ComputeEngine(precision: .bfloat16, library: .openBLAS)
    #expect(engine.precision == .float32 && engine.precisionNote != nil)
    #expect(ComputeEngine().precisionNote == nil)
  }
}
