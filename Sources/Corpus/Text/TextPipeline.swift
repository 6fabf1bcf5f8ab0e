import Foundation

/// What several threads do with the blocks of a text; each thread has its own worker.
///
/// A worker is used by one thread at a time, which is what makes it `Sendable`.
protocol BlockWorker: AnyObject, Sendable {
  /// Takes in the sealed text of a block; blocks come in any order, on several threads.
  func process(_ text: borrowing ByteBuffer)
  /// Hands on what `process` made of the same block; in the order of the blocks, one at a time.
  func deliver() throws
}

/// Reads texts block after block, with as many threads as there are workers,
/// and keeps the order where it matters.
///
/// `@unchecked Sendable`: `reader` is touched only under `reading`,
/// all else that changes only under `delivering`.
final class TextPipeline: @unchecked Sendable {
  private let sources: [TextSource]
  private let tokenizer: Tokenizer?
  private let onRead: (_ storedByteCount: Int) throws -> Void
  private let reading = NSLock()
  private var reader: BlockReader
  private let delivering = NSCondition()
  private var deliveredCount = 0
  private var failure: (blockIndex: Int, error: any Error)?

  /// - Parameters:
  ///   - endsLastLine: whether a last line without a newline counts as a line.
  ///   - onRead: called after each block with the bytes read so far,
  ///     from one thread at a time; may throw to stop.
  init(
    _ sources: [TextSource],
    tokenizer: Tokenizer?,
    endsLastLine: Bool = true,
    hashing: Bool = false,
    onRead: @escaping (_ storedByteCount: Int) throws -> Void = { _ in }
  ) {
    self.sources = sources
    self.tokenizer = tokenizer
    self.onRead = onRead
    reader = BlockReader(
      sources, boundary: tokenizer == nil ? .whiteSpace : .lineEnd, endsLastLine: endsLastLine,
      hashing: hashing)
  }

  /// Reads everything; the error of the earliest block is thrown, whichever thread met it first.
  ///
  /// - Returns: SHA-256 of each text, where it was asked for.
  func run(_ workers: [some BlockWorker]) throws -> [String] {
    DispatchQueue.concurrentPerform(iterations: workers.count) { drive(workers[$0]) }
    if let failure { throw failure.error }
    return reader.digests
  }

  private func drive(_ worker: some BlockWorker) {
    let block = TextBlock()
    while pull(block) {
      do {
        try prepare(block)
        if tokenizer == nil { worker.process(block.bytes) } else { worker.process(block.tokenized) }
        try deliver(block, from: worker)
      } catch {
        fail(at: block.index, error)
        return
      }
    }
  }

  /// Reads the next block; false at the end, or when there is no use in going on.
  private func pull(_ block: TextBlock) -> Bool {
    reading.withLock {
      if delivering.withLock({ failure != nil }) { return false }
      let index = reader.nextIndex
      do {
        guard try reader.read(into: block) else { return false }
        try onRead(reader.storedByteCount)
        return true
      } catch {
        fail(at: index, error)
        return false
      }
    }
  }

  private func prepare(_ block: TextBlock) throws {
    do {
      _ = try UTF8Span(validating: Span(_unsafeBytes: block.bytes.bytes))
    } catch {
      let offset = block.offset + error.byteOffsets.lowerBound
      let source = sources[block.sourceIndex]
      let line = try source.lineNumber(at: offset)
      throw CorpusError(
        "expected UTF-8 in \(source.name), found another byte in line \(line), byte \(offset)")
    }
    if let tokenizer {
      block.tokenized.truncate(to: 0)
      tokenizer.tokenize(block.bytes.bytes, into: &block.tokenized)
      block.tokenized.seal()
    } else {
      block.bytes.seal()
    }
  }

  /// Waits until all earlier blocks are delivered; they are held by threads that came
  /// first, so none waits forever.
  private func deliver(_ block: TextBlock, from worker: some BlockWorker) throws {
    try delivering.withLock {
      while deliveredCount != block.index && failure == nil { delivering.wait() }
      guard failure == nil else { return }
      try worker.deliver()
      deliveredCount += 1
      delivering.broadcast()
    }
  }

  private func fail(at blockIndex: Int, _ error: any Error) {
    delivering.withLock {
      if let failure, failure.blockIndex <= blockIndex { return }
      failure = (blockIndex, error)
      delivering.broadcast()
    }
  }
}
