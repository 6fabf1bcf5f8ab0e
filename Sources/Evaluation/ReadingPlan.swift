import Corpus
import Tensors

/// The order in which a text is read: block after block, each of T steps of L lanes.
protocol ReadingPlan: Sendable {
  /// T.
  var stepCount: Int { get }
  /// L.
  var laneCount: Int { get }
  /// How many blocks there are.
  var blockCount: Int { get }

  /// Reads a block; blocks are read in their order.
  func read(_ index: Int, from tokens: some TokenSequence, into block: ReadBlock)
}

/// The words of a block, time-major: row `t · L + l` is step t of lane l.
final class ReadBlock {
  /// What is read in each row; all rows are words.
  let inputs: Vector<Int32>
  /// What is to be predicted in each row; all rows are words.
  let targets: Vector<Int32>
  /// The rows up to the last that holds a word of the text.
  var rowCount = 0
  /// The rows that hold a word of the text, in its order where the plan keeps it.
  var textRows: [Int] = []
  /// Whether the state is zero before it.
  var startsAnew = false
  private let arena = Arena()

  /// A block for a plan's words.
  init(_ plan: some ReadingPlan) {
    let rowCount = plan.stepCount * plan.laneCount
    inputs = arena.vector(of: Int32.self, count: rowCount)
    targets = arena.vector(of: Int32.self, count: rowCount)
  }

  /// Makes every row a word that is not of the text.
  fileprivate func clear(_ word: Int32) {
    inputs.fill(word)
    targets.fill(word)
    textRows.removeAll(keepingCapacity: true)
  }
}

/// Streams side by side, the state carried from block to block.
struct StreamPlan: ReadingPlan {
  private let streams: Streams
  let stepCount: Int

  /// Blocks of at most `rowCount` rows; throws `MilmError` where there is no token for every stream.
  init(tokenCount: Int, streamCount: Int, rowCount: Int, specialWords: SpecialWords) throws {
    streams = try Streams(
      tokenCount: tokenCount, streamCount: streamCount, endOfSentenceID: specialWords.endOfSentence)
    stepCount = min(streams.stepCount, max(1, rowCount / streamCount))
  }

  var laneCount: Int { streams.streamCount }
  var blockCount: Int { (streams.stepCount + stepCount - 1) / stepCount }

  func read(_ index: Int, from tokens: some TokenSequence, into block: ReadBlock) {
    let part = streams.block(firstStep: index * stepCount, length: stepCount)
    block.clear(streams.endOfSentenceID)
    streams.read(part, from: tokens, inputs: block.inputs.buffer, targets: block.targets.buffer)
    block.rowCount = part.tokenCount
    block.textRows.append(contentsOf: 0..<part.tokenCount)
    block.startsAnew = index == 0
  }
}

/// Windows that do not overlap, as many side by side as make a block; the state is zero before each.
///
/// A window's first token is predicted from the token before it, and the text's first from `<eos>`. Windows longer than
/// a block are read one after the other, in several blocks.
struct WindowPlan: ReadingPlan {
  private let tokenCount: Int
  private let windowLength: Int
  private let blocksPerWindow: Int
  private let endOfSentence: Int32
  let stepCount: Int
  let laneCount: Int

  /// Blocks of about `rowCount` rows for each of `rankCount` ranks.
  init(tokenCount: Int, windowLength: Int, rowCount: Int, rankCount: Int, specialWords: SpecialWords) {
    self.tokenCount = tokenCount
    self.windowLength = min(windowLength, tokenCount)
    endOfSentence = specialWords.endOfSentence
    blocksPerWindow = (self.windowLength + rowCount - 1) / rowCount
    stepCount = (self.windowLength + blocksPerWindow - 1) / blocksPerWindow
    let windowCount = (tokenCount + self.windowLength - 1) / self.windowLength
    laneCount = blocksPerWindow > 1 ? 1 : min(windowCount, rowCount / self.windowLength * rankCount)
  }

  var blockCount: Int {
    let tokensPerGroup = windowLength * laneCount
    return (tokenCount + tokensPerGroup - 1) / tokensPerGroup * blocksPerWindow
  }

  func read(_ index: Int, from tokens: some TokenSequence, into block: ReadBlock) {
    let (group, part) = index.quotientAndRemainder(dividingBy: blocksPerWindow)
    block.clear(endOfSentence)
    block.rowCount = 0
    block.startsAnew = part == 0
    for lane in 0..<laneCount {
      let start = (group * laneCount + lane) * windowLength
      let end = min(start + windowLength, tokenCount)
      let first = start + part * stepCount
      for position in first..<max(first, min(first + stepCount, end)) {
        let row = (position - first) * laneCount + lane
        block.inputs[row] = position == 0 ? endOfSentence : tokens[position - 1]
        block.targets[row] = tokens[position]
        block.textRows.append(row)
        block.rowCount = max(block.rowCount, row + 1)
      }
    }
  }
}
