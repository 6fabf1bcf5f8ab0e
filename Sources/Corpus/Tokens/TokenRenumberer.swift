/// Turns kept blocks of a counter's ids into final ids and writes them, as one thread of several.
///
/// `@unchecked Sendable`: one thread uses it at a time, and its maker only after all threads are done.
final class TokenRenumberer: OrderedWorker, @unchecked Sendable {
  private let scratch: ScratchFile
  private let finalIDs: [FinalIDs]
  private let writer: TokenFileWriter
  private let onWrite: (_ tokenCount: Int) throws -> Void
  private var ids = TextIDs()
  private var counter = 0
  private var blockUnknownCount = 0
  private(set) var unknownTokenCount = 0

  /// - Parameter finalIDs: for each counter, those of the words in its table.
  init(
    _ scratch: ScratchFile, finalIDs: [FinalIDs], writer: TokenFileWriter,
    onWrite: @escaping (_ tokenCount: Int) throws -> Void
  ) {
    self.scratch = scratch
    self.finalIDs = finalIDs
    self.writer = writer
    self.onWrite = onWrite
  }

  func take() throws -> Bool {
    guard let counter = try scratch.next(into: &ids) else { return false }
    self.counter = counter
    return true
  }

  func work() { blockUnknownCount = finalIDs[counter].replace(ids.ids) }

  func deliver() throws {
    unknownTokenCount += blockUnknownCount
    try writer.append(UnsafeBufferPointer(ids.ids))
    try onWrite(writer.count)
  }
}
