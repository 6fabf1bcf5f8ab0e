import Platform

/// The type of a file by its first bytes ("magic number").
enum FileSignature: String {
  case gzip
  case zstd
  case zip
  case xz
  case bzip2
  case utf16 = "UTF-16"
  case utf32 = "UTF-32"
  case utf8Mark

  /// As many first bytes as are examined.
  static let byteCount = StoragePointer.byteCountLimit + 1

  static let utf8MarkByteCount = 3

  /// nil stands for any byte: the size of bzip2's blocks, the number of a skippable frame of zstd.
  private static let signatures: [(FileSignature, [UInt8?])] = [
    (.gzip, [0x1F, 0x8B]),
    (.zstd, [0x28, 0xB5, 0x2F, 0xFD]),
    (.zstd, [nil, 0x2A, 0x4D, 0x18]),
    (.zip, [0x50, 0x4B, 0x03, 0x04]),
    (.zip, [0x50, 0x4B, 0x05, 0x06]),
    (.xz, [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]),
    (.bzip2, [0x42, 0x5A, 0x68, nil, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59]),
    (.utf8Mark, [0xEF, 0xBB, 0xBF]),
    // Before UTF-16's, which begins in the same way.
    (.utf32, [0xFF, 0xFE, 0x00, 0x00]),
    (.utf32, [0x00, 0x00, 0xFE, 0xFF]),
    (.utf16, [0xFF, 0xFE]),
    (.utf16, [0xFE, 0xFF]),
  ]

  init?(_ bytes: ArraySlice<UInt8>) {
    let match = Self.signatures.first { _, pattern in
      bytes.count >= pattern.count && Swift.zip(bytes, pattern).allSatisfy { $1 == nil || $0 == $1 }
    }
    guard let match else { return nil }
    self = match.0
  }

  /// Name of the format and how to convert it to text; nil for a byte-order mark of UTF-8, which is dropped.
  var foreignText: String? {
    switch self {
    case .utf8Mark: nil
    case .utf16, .utf32: "\(rawValue); convert it with: iconv -f \(rawValue) -t UTF-8"
    case .xz: "xz data; decompress it with: xz -dc"
    case .bzip2: "bzip2 data; decompress it with: bzip2 -dc"
    case .gzip, .zstd, .zip: "\(rawValue) data within a compressed file"
    }
  }
}

/// The first bytes of a stream, examined before they are read.
struct Lookahead {
  private var bytes: ArraySlice<UInt8> = []

  /// No bytes.
  init() {}

  /// Takes the first bytes out of a stream, fewer than `FileSignature` examines only if the stream has no more.
  init(from read: (UnsafeMutableRawBufferPointer) throws -> Int) rethrows {
    var filled = 0
    var buffer = [UInt8](repeating: 0, count: FileSignature.byteCount)
    try buffer.withUnsafeMutableBytes { buffer in
      while filled < buffer.count {
        let byteCount = try read(UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
        if byteCount == 0 { break }
        filled += byteCount
      }
    }
    bytes = buffer[..<filled]
  }

  var signature: FileSignature? { FileSignature(bytes) }

  /// Name of a foreign format and how to convert it, also of a storage pointer, whose bytes are text; nil for text.
  var foreignText: String? { StoragePointer(bytes)?.description ?? signature?.foreignText }

  /// Drops the next bytes.
  mutating func drop(_ count: Int) { bytes = bytes.dropFirst(count) }

  /// Moves examined bytes into `buffer`; 0 if there are none left.
  mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let taken = bytes.prefix(buffer.count)
    buffer.copyBytes(from: taken)
    drop(taken.count)
    return taken.count
  }
}
