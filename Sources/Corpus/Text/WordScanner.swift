/// The words and line ends of a text, one after the other.
struct WordScanner {
  /// What a text consists of.
  enum Item {
    case word(Word)
    case lineEnd
  }

  private var next: UnsafeRawPointer
  private let end: UnsafeRawPointer

  /// - Parameter text: sealed bytes; they must outlive the scanner.
  init(_ text: borrowing ByteBuffer) {
    next = UnsafeRawPointer(text.base)
    end = next + text.count
  }

  /// The next item; nil at the end.
  mutating func nextItem() -> Item? {
    while next < end {
      let byte = next.load(as: UInt8.self)
      if !isWhiteSpace(byte) { return .word(nextWord()) }
      next += 1
      if byte == UInt8(ascii: "\n") { return .lineEnd }
    }
    return nil
  }

  /// Finds the end of the word that begins at `next`, eight bytes at a time.
  private mutating func nextWord() -> Word {
    let start = next
    let first = UInt64(littleEndian: start.loadUnaligned(as: UInt64.self))
    let firstEnds = whiteSpaceMask(first)
    if firstEnds != 0 {
      let byteCount = firstEnds.trailingZeroBitCount >> 3
      next += byteCount
      return Word(start: start, byteCount: byteCount, prefix: first & ((1 << UInt64(8 &* byteCount)) &- 1))
    }
    var ends: UInt64 = 0
    while ends == 0 {
      next += 8
      ends = whiteSpaceMask(UInt64(littleEndian: next.loadUnaligned(as: UInt64.self)))
    }
    next += ends.trailingZeroBitCount >> 3
    return Word(start: start, byteCount: next - start, prefix: first)
  }
}

/// The high bit of every byte that is white space; those after the first one found are not reliable.
private func whiteSpaceMask(_ bytes: UInt64) -> UInt64 {
  let ones: UInt64 = 0x0101_0101_0101_0101
  let highBits = ones << 7
  // A byte equal to the space becomes zero, and only the lowest zero byte is sure to be found by the borrow.
  let differences = bytes ^ (ones &* 0x20)
  let spaces = (differences &- ones) & ~differences
  // 141 − b has its high bit for b ≤ 13, and b + 119 for b ≥ 9; neither leaves its byte.
  let low = bytes & ~highBits
  let controls = (ones &* 141 &- low) & (low &+ ones &* 119) & ~bytes
  return (spaces | controls) & highBits
}

/// The bytes of a word, which live elsewhere.
struct Word {
  let start: UnsafeRawPointer
  let byteCount: Int
  /// The first eight bytes, the first one lowest, zeros where the word is shorter.
  let prefix: UInt64

  init(start: UnsafeRawPointer, byteCount: Int, prefix: UInt64) {
    self.start = start
    self.byteCount = byteCount
    self.prefix = prefix
  }

  /// A word that is all of `bytes`; nil for no bytes.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress, !bytes.isEmpty else { return nil }
    start = base
    byteCount = bytes.count
    prefix = littleEndianWord(bytes.prefix(8))
  }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: byteCount) }

  /// A hash of all its bytes: products of 64 bits, folded, for each eight of them.
  var hash: UInt64 {
    var hash = fold(prefix ^ UInt64(truncatingIfNeeded: byteCount))
    var offset = 8
    while offset &+ 8 <= byteCount {
      hash = fold(
        hash ^ UInt64(littleEndian: start.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
      offset &+= 8
    }
    if offset < byteCount { hash = fold(hash ^ littleEndianWord(bytes[offset...])) }
    return hash
  }
}

private func littleEndianWord(_ bytes: Slice<UnsafeRawBufferPointer>) -> UInt64 {
  bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
}

private func fold(_ value: UInt64) -> UInt64 {
  let product = value.multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
  return product.high ^ product.low
}
