import CZlib
import CZstd
import Foundation
import Platform

/// Decompresses a file while it is read.
protocol StreamDecoder: AnyObject {
  /// Fills `buffer` and returns the byte count, 0 only at the end.
  ///
  /// - Parameter next: fills a buffer with bytes as stored, in the same way.
  func read(
    into buffer: UnsafeMutableRawBufferPointer,
    from next: (UnsafeMutableRawBufferPointer) throws -> Int
  ) throws -> Int
}

/// How a text file is compressed.
enum Compression: String {
  case zstd = "zst"
  case gzip = "gz"
  case zip

  /// By the first bytes; a file that lacks them must be what its name's extension says.
  init?(_ file: URL, first: FileSignature?) {
    switch first {
    case .gzip: self = .gzip
    case .zstd: self = .zstd
    case .zip: self = .zip
    default: self.init(rawValue: file.pathExtension.lowercased())
    }
  }
}

/// Decompresses deflate data: a gzip file of one or several members, or an entry of a zip archive.
///
/// libarchive, which reads zip and gzip too, does not verify the checksum of gzip members (3.6.2).
final class InflateDecoder: StreamDecoder {
  enum Format {
    case gzip
    case zipEntry

    /// zlib's code for the format: a window of 2^15 bytes, with a gzip header or without any.
    fileprivate var windowBits: Int32 { self == .gzip ? 15 + 16 : -15 }
    fileprivate var name: String { self == .gzip ? "gzip" : "deflate" }
  }

  private static let inputByteCount = 1 << 16

  private let name: String
  private let format: Format
  /// On the heap, because zlib keeps its address.
  private let stream: UnsafeMutablePointer<z_stream>
  private let input: UnsafeMutableRawBufferPointer
  private var isInsideMember = false
  private var hasMembers = false
  private var isPadded = false
  private var isInputAtEnd = false
  private var isAtEnd = false

  init(_ format: Format, name: String) throws {
    self.name = name
    self.format = format
    stream = .allocated(capacity: 1)
    stream.initialize(to: z_stream())
    input = .allocated(byteCount: Self.inputByteCount)
    guard CZlib_inflateInit(stream, format.windowBits) == Z_OK else {
      throw MilmError("cannot decompress \(name): no memory for zlib")
    }
  }

  deinit {
    inflateEnd(stream)
    free(stream)
    free(input.baseAddress)
  }

  func read(
    into buffer: UnsafeMutableRawBufferPointer,
    from next: (UnsafeMutableRawBufferPointer) throws -> Int
  ) throws -> Int {
    var filled = 0
    while filled < buffer.count && !isAtEnd {
      if stream.pointee.avail_in == 0 { try refill(from: next) }
      if hasMembers && !isInsideMember { try skipPadding() }
      guard isInsideMember || stream.pointee.avail_in > 0 else {
        isAtEnd = isInputAtEnd
        continue
      }
      isInsideMember = true
      filled += try inflateSome(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
    }
    return filled
  }

  private func inflateSome(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let room = min(buffer.count, Int(UInt32.max))
    stream.pointee.next_out = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_out = UInt32(room)
    let result = inflate(stream, Z_NO_FLUSH)
    let byteCount = room - Int(stream.pointee.avail_out)
    switch result {
    case Z_OK, Z_BUF_ERROR:
      // Without input it still returns what it has buffered.
      guard byteCount > 0 || !isInputAtEnd else { throw corrupted("a truncated file") }
    case Z_STREAM_END: endMember()
    default: throw corrupted(stream.pointee.msg.map { String(cString: $0) } ?? "error \(result)")
    }
    return byteCount
  }

  private func refill(from next: (UnsafeMutableRawBufferPointer) throws -> Int) throws {
    let byteCount = try next(input)
    isInputAtEnd = byteCount == 0
    stream.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_in = UInt32(byteCount)
  }

  /// Skips zeros after a gzip member, which pad it to the end of the file, as on a tape.
  private func skipPadding() throws {
    guard let next = stream.pointee.next_in else { return }
    let rest = UnsafeBufferPointer(start: next, count: Int(stream.pointee.avail_in))
    let zeroCount = rest.prefix { $0 == 0 }.count
    isPadded = isPadded || zeroCount > 0
    guard !isPadded || zeroCount == rest.count else { throw corrupted("other bytes after zeros") }
    stream.pointee.next_in += zeroCount
    stream.pointee.avail_in -= UInt32(zeroCount)
  }

  /// Another member may follow a gzip member; an entry of a zip archive is complete.
  private func endMember() {
    isInsideMember = false
    hasMembers = true
    if format == .gzip { inflateReset(stream) } else { isAtEnd = true }
  }

  private func corrupted(_ found: String) -> MilmError {
    MilmError("expected \(format.name) data in \(name), found \(found)")
  }
}

/// Decompresses a zstd file of one or several frames while it is read.
final class ZstdDecoder: StreamDecoder {
  private let name: String
  private let context: OpaquePointer
  private let input: UnsafeMutableRawBufferPointer
  private var pending = ZSTD_inBuffer()
  private var isInsideFrame = false

  init(name: String) throws {
    guard let context = ZSTD_createDCtx() else {
      throw MilmError("cannot decompress \(name): no memory for a zstd context")
    }
    self.name = name
    self.context = context
    input = .allocated(byteCount: ZSTD_DStreamInSize())
    pending.src = UnsafeRawPointer(input.baseAddress)
  }

  deinit {
    ZSTD_freeDCtx(context)
    free(input.baseAddress)
  }

  func read(
    into buffer: UnsafeMutableRawBufferPointer,
    from next: (UnsafeMutableRawBufferPointer) throws -> Int
  ) throws -> Int {
    var output = ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
    while output.pos < output.size {
      if pending.pos == pending.size {
        pending.size = try next(input)
        pending.pos = 0
      }
      let isAtEndOfFile = pending.size == 0
      if isAtEndOfFile && !isInsideFrame { break }
      let earlier = output.pos
      // Without input it still returns what it has buffered of the current frame.
      let result = ZSTD_decompressStream(context, &output, &pending)
      guard ZSTD_isError(result) == 0 else {
        throw MilmError("expected zstd frames in \(name): \(String(cString: ZSTD_getErrorName(result)))")
      }
      isInsideFrame = result != 0
      if isAtEndOfFile && isInsideFrame && output.pos == earlier {
        throw MilmError("expected a whole zstd frame in \(name), found a truncated one")
      }
    }
    return output.pos
  }
}
