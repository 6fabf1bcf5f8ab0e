import CZlib
import Platform

/// Decompresses what deflate has compressed: a gzip file, of one member or of several, or an entry of a zip file.
final class InflateDecoder: StreamDecoder {
  enum Format {
    case gzip
    case zipEntry

    /// zlib's way to tell formats: a window of 2^15 bytes, a gzip header or none at all.
    fileprivate var windowBits: Int32 { self == .gzip ? 15 + 16 : -15 }
    fileprivate var name: String { self == .gzip ? "gzip" : "deflate" }
  }

  private static let inputByteCount = 1 << 16

  private let name: String
  private let format: Format
  /// On the heap: zlib keeps its address.
  private let stream: UnsafeMutablePointer<z_stream>
  private let input: UnsafeMutableRawBufferPointer
  private var isInsideMember = false
  private var isAtEnd = false

  init(_ format: Format, name: String) throws {
    self.name = name
    self.format = format
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    input = .allocate(byteCount: Self.inputByteCount, alignment: 16)
    guard CZlib_inflateInit(stream, format.windowBits) == Z_OK else {
      throw MilmError("cannot decompress \(name): no memory for zlib")
    }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
    input.deallocate()
  }

  func read(
    into buffer: UnsafeMutableRawBufferPointer,
    from next: (UnsafeMutableRawBufferPointer) throws -> Int
  ) throws -> Int {
    var filled = 0
    while filled < buffer.count && !isAtEnd {
      if stream.pointee.avail_in == 0 { try refill(from: next) }
      guard !isAtEnd else { break }
      let room = min(buffer.count - filled, Int(UInt32.max))
      stream.pointee.next_out = buffer.baseAddress.map { ($0 + filled).assumingMemoryBound(to: UInt8.self) }
      stream.pointee.avail_out = UInt32(room)
      let result = inflate(stream, Z_NO_FLUSH)
      filled += room - Int(stream.pointee.avail_out)
      switch result {
      case Z_OK, Z_BUF_ERROR: isInsideMember = true
      case Z_STREAM_END: endMember()
      default: throw damaged(stream.pointee.msg.map { String(cString: $0) } ?? "error \(result)")
      }
    }
    return filled
  }

  private func refill(from next: (UnsafeMutableRawBufferPointer) throws -> Int) throws {
    let byteCount = try next(input)
    if byteCount == 0 {
      guard !isInsideMember else { throw damaged("its end cut off") }
      isAtEnd = true
    }
    stream.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_in = UInt32(byteCount)
  }

  /// What follows a gzip member is another one; an entry of a zip file is over.
  private func endMember() {
    isInsideMember = false
    if format == .gzip { inflateReset(stream) } else { isAtEnd = true }
  }

  private func damaged(_ found: String) -> MilmError {
    MilmError("expected \(format.name) data in \(name), found \(found)")
  }
}
