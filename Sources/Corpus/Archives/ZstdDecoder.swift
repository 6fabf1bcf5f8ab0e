import CZstd
import Platform

/// Decompresses a zstd file, of one frame or of several, as it is read.
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
    input = .allocate(byteCount: ZSTD_DStreamInSize(), alignment: 16)
    pending.src = UnsafeRawPointer(input.baseAddress)
  }

  deinit {
    ZSTD_freeDCtx(context)
    input.deallocate()
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
      // Without input it still hands out what it holds of the frame it is in.
      let result = ZSTD_decompressStream(context, &output, &pending)
      guard ZSTD_isError(result) == 0 else {
        throw MilmError("expected zstd frames in \(name): \(String(cString: ZSTD_getErrorName(result)))")
      }
      isInsideFrame = result != 0
      if isAtEndOfFile && isInsideFrame && output.pos == earlier {
        throw MilmError("expected a whole zstd frame in \(name), found its end cut off")
      }
    }
    return output.pos
  }
}
