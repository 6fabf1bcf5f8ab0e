import Foundation

/// The first place in a block that is not text.
struct TextFault {
  /// The offset in the block.
  let offset: Int
  /// The two halves of the message.
  let expected: String
  let found: String

  /// nil for UTF-8 without NUL bytes.
  init?(in bytes: UnsafeRawBufferPointer) {
    let nul = bytes.firstOffset(of: 0)
    let valid = UnsafeRawBufferPointer(rebasing: bytes[..<(nul ?? bytes.count)])
    do {
      _ = try UTF8Span(validating: Span(_unsafeBytes: valid))
    } catch {
      (offset, expected, found) = (error.byteOffsets.lowerBound, "UTF-8", "another byte")
      return
    }
    guard let nul else { return nil }
    (offset, expected, found) = (nul, "text", "a NUL byte (\(Self.origin(ofNUL: nul, in: bytes)))")
  }

  /// Where NUL bytes come from, judged by their neighbours.
  private static func origin(ofNUL offset: Int, in bytes: UnsafeRawBufferPointer) -> String {
    let tar = Array("ustar".utf8)
    if bytes.count > 262, bytes[257..<262].elementsEqual(tar) { return "a tar archive" }
    // A last line without a newline has been given one.
    let rest = bytes[offset...].dropLast(bytes.last == UInt8(ascii: "\n") ? 1 : 0)
    if rest.allSatisfy({ $0 == 0 }) { return "zeros to the end, as a power cut may leave" }
    // Of Latin letters every second byte is zero in UTF-16, and three of four in UTF-32.
    let start = offset & ~3
    let sample = bytes[start..<min(start + 64, bytes.count)]
    let zeroShare = Double(sample.count { $0 == 0 }) / Double(sample.count)
    switch zeroShare {
    case _ where sample.count < 8: return "binary or damaged data"
    case 0.4..<0.6: return "UTF-16 without a mark?"
    case 0.6..<0.8: return "UTF-32 without a mark?"
    default: return "binary or damaged data"
    }
  }
}

extension UnsafeRawBufferPointer {
  /// The offset of the first byte with a value.
  func firstOffset(of byte: UInt8) -> Int? {
    guard let baseAddress, let found = memchr(baseAddress, Int32(byte), count) else { return nil }
    return UnsafeRawPointer(found) - baseAddress
  }
}
