import Corpus
import Tensors

/// The order in which a text is read: block after block, each of T steps of L lanes.
struct ReadingOrder: Sendable {
  private enum Cut {
    /// Contiguous streams side by side, the state carried from block to block.
    case streams(Streams)
    /// Windows of `length` tokens side by side, the state zero before each; a long one spans several blocks.
    case windows(length: Int, blocksPerWindow: Int)
  }

  /// T.
  let stepCount: Int
  /// L.
  let laneCount: Int
  let blockCount: Int
  private let cut: Cut
  private let tokenCount: Int
  private let endOfSentence: Int32

  /// Rows of a block per rank; constant, so that a score depends on the method alone.
  private static let rowsPerRank = 1024

  /// The order for `rankCount` ranks; throws where there are fewer tokens than streams.
  init(_ method: ScoringMethod, tokenCount: Int, rankCount: Int, endOfSentence: Int32) throws {
    self.tokenCount = tokenCount
    self.endOfSentence = endOfSentence
    switch method.reading {
    case .streams(let count):
      let streams = try Streams(tokenCount: tokenCount, streamCount: count, endOfSentenceID: endOfSentence)
      let rowCount =
        method.dynamic?.segment ?? Self.rowsPerRank * (count >= rankCount ? rankCount : 1)
      stepCount = min(streams.stepCount, max(1, rowCount / count))
      laneCount = count
      blockCount = (streams.stepCount + stepCount - 1) / stepCount
      cut = .streams(streams)
    case .windows(let longest):
      let length = min(longest, tokenCount)
      let blocksPerWindow = (length + Self.rowsPerRank - 1) / Self.rowsPerRank
      let windowCount = (tokenCount + length - 1) / length
      stepCount = (length + blocksPerWindow - 1) / blocksPerWindow
      laneCount = blocksPerWindow > 1 ? 1 : min(windowCount, Self.rowsPerRank / length * rankCount)
      blockCount = (windowCount + laneCount - 1) / laneCount * blocksPerWindow
      cut = .windows(length: length, blocksPerWindow: blocksPerWindow)
    }
  }

  /// Rows of a block: T · L.
  var rowCount: Int { stepCount * laneCount }

  /// Reads a block; blocks are read in order.
  func read(_ index: Int, from tokens: some TokenSequence, into block: Block) throws {
    block.clear(endOfSentence)
    switch cut {
    case .streams(let streams):
      let part = streams.block(firstStep: index * stepCount, length: stepCount)
      try streams.read(part, from: tokens, inputs: block.inputs.buffer, targets: block.targets.buffer)
      block.rowCount = part.tokenCount
      block.textRows.append(contentsOf: 0..<part.tokenCount)
      block.resetsState = index == 0
    case .windows(let length, let blocksPerWindow):
      let (group, part) = index.quotientAndRemainder(dividingBy: blocksPerWindow)
      block.resetsState = part == 0
      for lane in 0..<laneCount {
        let start = (group * laneCount + lane) * length
        let end = min(start + length, tokenCount)
        let first = start + part * stepCount
        let count = max(0, min(stepCount, end - first))
        // A window's first token is predicted from the token before it, the text's first from <eos>.
        try readStream(
          from: 0, firstStep: first, stepCount: count, of: tokens, before: endOfSentence,
          inputs: block.inputs.buffer, targets: block.targets.buffer, firstRow: lane, rowStride: laneCount)
        for step in 0..<count {
          let row = step * laneCount + lane
          block.textRows.append(row)
          block.rowCount = max(block.rowCount, row + 1)
        }
      }
    }
  }
}

/// The tokens of a block, time-major: row t · L + l is step t of lane l.
///
/// Rows past the text hold `<eos>`.
final class Block {
  /// The token read in each row.
  let inputs: Vector<Int32>
  /// The token to be predicted in each row.
  let targets: Vector<Int32>
  /// The rows up to the last one of the text.
  var rowCount = 0
  /// The rows of the text, in its order where it is in one stream or in windows.
  var textRows: [Int] = []
  /// Whether the state is zero before the block.
  var resetsState = false
  private let arena = Arena()

  init(_ order: ReadingOrder) {
    inputs = arena.vector(of: Int32.self, count: order.rowCount)
    targets = arena.vector(of: Int32.self, count: order.rowCount)
  }

  fileprivate func clear(_ token: Int32) {
    inputs.fill(token)
    targets.fill(token)
    textRows.removeAll(keepingCapacity: true)
    rowCount = 0
  }
}

/// A block and the negative log-likelihoods of its rows, in nats.
struct ScoredBlock {
  let block: Block
  let losses: Vector<Double>
}
