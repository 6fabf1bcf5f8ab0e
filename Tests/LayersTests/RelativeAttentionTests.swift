import Foundation
import Layers
import Tensors
import Testing

@Suite struct RelativeAttentionTests {
  struct Shape: Sendable {
    let steps: Int
    let lanes: Int
    let heads: Int
    let headWidth: Int
    let memory: Int
    let filled: [Int]
    let hasSameLength: Bool
  }

  static let shapes = [
    Shape(steps: 1, lanes: 1, heads: 1, headWidth: 2, memory: 2, filled: [2], hasSameLength: false),
    Shape(steps: 4, lanes: 2, heads: 2, headWidth: 3, memory: 3, filled: [0, 2], hasSameLength: false),
    Shape(steps: 5, lanes: 3, heads: 3, headWidth: 4, memory: 2, filled: [2, 2, 1], hasSameLength: true),
    Shape(steps: 3, lanes: 2, heads: 2, headWidth: 5, memory: 0, filled: [0, 0], hasSameLength: false),
  ]

  /// Attention to random rows.
  private struct Bench {
    let engine: ComputeEngine
    let shape: Shape
    let attention: RelativeAttention
    let arena = Arena()
    let rows: RelativeAttention.Rows
    let gradients: RelativeAttention.Rows
    let output: Matrix
    let target: Matrix
    let mask: RelativeAttention.Mask
    let workspace: RelativeAttention.Workspace

    init(_ shape: Shape, dropout: Double = 0, engine: ComputeEngine) {
      self.engine = engine
      self.shape = shape
      let arena = arena
      attention = RelativeAttention(
        headCount: shape.heads, headWidth: shape.headWidth, memory: shape.memory,
        dropout: Dropout(rate: dropout))
      let (width, keyCount) = (shape.heads * shape.headWidth, shape.memory + shape.steps)
      func matrix(_ rowCount: Int) -> Matrix { arena.matrix(rowCount: rowCount, columnCount: width) }
      func rows() -> RelativeAttention.Rows {
        RelativeAttention.Rows(
          query: matrix(shape.steps * shape.lanes), key: matrix(keyCount * shape.lanes),
          value: matrix(keyCount * shape.lanes), position: matrix(keyCount), contentBias: matrix(1),
          positionBias: matrix(1))
      }
      self.rows = rows()
      gradients = rows()
      output = matrix(shape.steps * shape.lanes)
      target = matrix(shape.steps * shape.lanes)
      let filled = arena.matrix(rowCount: shape.lanes, columnCount: 1)
      for (lane, count) in shape.filled.enumerated() { filled[lane, 0] = Float(count) }
      mask = RelativeAttention.Mask(
        filled: filled, hasSameLength: shape.hasSameLength, dropout: (RandomKey(seed: 3), 5, 7))
      workspace = RelativeAttention.Workspace(
        attention, stepCount: shape.steps, isScoring: false, engine: engine, in: arena)
      for (name, values, _) in tensors { values.randomize(name, engine: engine) }
      target.randomize("target", engine: engine)
    }

    var tensors: [(name: String, values: Matrix, gradient: Matrix)] {
      [
        ("query", rows.query, gradients.query), ("key", rows.key, gradients.key),
        ("value", rows.value, gradients.value), ("position", rows.position, gradients.position),
        ("u", rows.contentBias, gradients.contentBias), ("w", rows.positionBias, gradients.positionBias),
      ]
    }

    func loss() -> Double {
      attention.forward(rows, mask: mask, into: output, workspace: workspace, engine: engine)
      return output.dot(target)
    }
  }

  @Test(arguments: shapes, [0, 0.3])
  func gradientsMatchCentralDifferences(shape: Shape, dropout: Double) throws {
    for kind in TestedEngine.allCases {
      let bench = Bench(shape, dropout: dropout, engine: try kind.make())
      defer { withExtendedLifetime(bench.arena) {} }
      _ = bench.loss()
      bench.attention.backward(
        bench.rows, outputGradient: bench.target, mask: bench.mask, into: bench.gradients,
        workspace: bench.workspace, engine: bench.engine)
      expectGradientsMatch(
        bench.tensors.map { CheckedTensor(name: $0.name, values: $0.values, gradient: $0.gradient) },
        epsilon: 1e-2, tolerance: 3e-3, loss: bench.loss)
    }
  }

  /// The definition, written out in double precision.
  @Test(arguments: shapes)
  func outputsAreThoseOfTheDefinition(shape: Shape) throws {
    let bench = Bench(shape, engine: ComputeEngine())
    defer { withExtendedLifetime(bench.arena) {} }
    _ = bench.loss()
    let keyCount = shape.memory + shape.steps
    for lane in 0..<shape.lanes {
      for head in 0..<shape.heads {
        let columns = head * shape.headWidth..<(head + 1) * shape.headWidth
        for step in 0..<shape.steps {
          let row = step * shape.lanes + lane
          let first = max(
            shape.memory - shape.filled[lane], shape.hasSameLength ? step : 0)
          var weights: [(key: Int, weight: Double)] = []
          for key in first...shape.memory + step {
            let keyRow = key * shape.lanes + lane
            let distance = shape.memory + step - key
            let score = columns.reduce(0.0) { sum, column in
              let query = Double(bench.rows.query[row, column])
              let content = query + Double(bench.rows.contentBias[0, column])
              let positional = query + Double(bench.rows.positionBias[0, column])
              return sum + content * Double(bench.rows.key[keyRow, column])
                + positional * Double(bench.rows.position[keyCount - 1 - distance, column])
            }
            weights.append((key, exp(score / Double(shape.headWidth).squareRoot())))
          }
          let total = weights.reduce(0) { $0 + $1.weight }
          for column in columns {
            let expected = weights.reduce(0.0) {
              $0 + $1.weight / total * Double(bench.rows.value[$1.key * shape.lanes + lane, column])
            }
            #expect(abs(Double(bench.output[row, column]) - expected) < 1e-5)
          }
        }
      }
    }
  }
}
