/// A zstd frame of one raw block, written by hand from the specification (RFC 8878).
enum Zstandard {
  static func compress(_ bytes: [UInt8]) -> [UInt8] {
    precondition(bytes.count < 1 << 17, "one block holds less than 128 KiB")
    // Magic; a single segment whose content size takes four bytes; the size;
    // the last block's header; the block.
    let size = UInt32(bytes.count)
    let header = 1 | size << 3
    return [0x28, 0xB5, 0x2F, 0xFD, 0xA0] + (0..<4).map { UInt8(truncatingIfNeeded: size >> ($0 * 8)) }
      + (0..<3).map { UInt8(truncatingIfNeeded: header >> ($0 * 8)) } + bytes
  }
}
