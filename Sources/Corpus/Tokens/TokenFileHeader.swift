import Platform

/// The first 64 bytes of a token file, little-endian.
///
/// 0 magic `MILMTOK1`, 8 version (u32), 12 bytes an id (u32), 16 number of ids (u64),
/// 24 XXH64 of the ids' bytes (u64), zeros to 64.
struct TokenFileHeader {
  static let byteCount = 64
  static let magic = Array("MILMTOK1".utf8)
  static let version: UInt32 = 1

  /// Bytes an id: 2 or 4.
  let width: Int
  let count: Int
  let checksum: UInt64

  /// The narrowest width that holds all ids of a vocabulary.
  static func width(forVocabularyCount vocabularyCount: Int) -> Int { vocabularyCount <= 65536 ? 2 : 4 }

  init(width: Int, count: Int, checksum: UInt64) {
    self.width = width
    self.count = count
    self.checksum = checksum
  }

  /// Reads the header of a file and compares it with the file's size.
  init(_ file: UnsafeRawBufferPointer, name: String) throws {
    guard file.count >= Self.byteCount else {
      throw MilmError(
        "expected a token file at \(name), found \(file.count) bytes, fewer than its header has")
    }
    guard file.starts(with: Self.magic) else {
      throw MilmError("expected a token file at \(name), found none of its magic, MILMTOK1")
    }
    let version = UInt32(littleEndian: file.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
    guard version == Self.version else {
      throw MilmError("expected token file version \(Self.version) in \(name), found \(version)")
    }
    let width = UInt32(littleEndian: file.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
    guard width == 2 || width == 4 else {
      throw MilmError("expected 2 or 4 bytes an id in \(name), found \(width)")
    }
    let count = UInt64(littleEndian: file.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
    let (payload, overflow) = count.multipliedReportingOverflow(by: UInt64(width))
    guard !overflow && payload == UInt64(file.count - Self.byteCount) else {
      throw MilmError(
        "expected \(count) ids of \(width) bytes in \(name), "
          + "found \(file.count - Self.byteCount) bytes of ids")
    }
    guard file[32..<Self.byteCount].allSatisfy({ $0 == 0 }) else {
      throw MilmError("expected zeros from byte 32 to 64 of \(name), found other bytes")
    }
    self.width = Int(width)
    self.count = Int(count)
    checksum = UInt64(littleEndian: file.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
  }

  var bytes: [UInt8] {
    var bytes = Self.magic
    withUnsafeBytes(of: Self.version.littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: UInt32(width).littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: UInt64(count).littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: checksum.littleEndian) { bytes.append(contentsOf: $0) }
    return bytes + [UInt8](repeating: 0, count: Self.byteCount - bytes.count)
  }
}
