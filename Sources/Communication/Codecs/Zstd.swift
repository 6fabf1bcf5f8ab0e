import CZstd
import Platform

/// A reusable zstd compressor, for one thread.
struct ZstdCompressor: ~Copyable {
  private let context: OpaquePointer

  init() {
    guard let context = ZSTD_createCCtx() else { preconditionFailure("no memory for a zstd context") }
    self.context = context
  }

  deinit {
    ZSTD_freeCCtx(context)
  }

  /// Whether a long source is worth the time of compressing it, from samples at four places.
  ///
  /// Mantissas of floats are noise more often than not, and zstd takes as long to find that out as to compress.
  func isWorthCompressing(
    _ source: UnsafeRawBufferPointer, _ compression: Compression, scratch: UnsafeMutableRawBufferPointer,
    price: WirePrice
  ) throws(MilmError) -> Bool {
    let (sampleCount, sampleByteCount) = (4, 8 << 10)
    guard source.count >= 8 * sampleCount * sampleByteCount, scratch.count >= sampleByteCount else {
      return true
    }
    let start = coreSeconds
    var byteCount = 0
    for index in 0..<sampleCount {
      let place = (source.count - sampleByteCount) / (sampleCount - 1) * index
      let sample = UnsafeRawBufferPointer(rebasing: source[place..<place + sampleByteCount])
      byteCount += try compress(sample, compression, into: scratch) ?? sampleByteCount
    }
    let sampledByteCount = sampleCount * sampleByteCount
    return Double(byteCount) < Double(sampledByteCount) * compression.worthwhileShare
      && price.pays(byteCount: sampledByteCount - byteCount, coreSeconds: coreSeconds - start)
  }

  /// Compresses into `target` if the result is shorter than the source; nil if it is not, or does not fit.
  func compress(
    _ source: UnsafeRawBufferPointer, _ compression: Compression, into target: UnsafeMutableRawBufferPointer
  ) throws(MilmError) -> Int? {
    guard source.count > 1 else { return nil }
    _ = try check(ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters))
    _ = try check(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, CInt(compression.level)))
    if compression.codesLiterals { _ = try check(CZstd_compressLiterals(context)) }
    let capacity = min(target.count, source.count - 1)
    let result = ZSTD_compress2(context, target.baseAddress, capacity, source.baseAddress, source.count)
    guard ZSTD_getErrorCode(result) != ZSTD_error_dstSize_tooSmall else { return nil }
    return try check(result)
  }
}

/// A reusable zstd decompressor, for one thread.
struct ZstdDecompressor: ~Copyable {
  private let context: OpaquePointer

  init() {
    guard let context = ZSTD_createDCtx() else { preconditionFailure("no memory for a zstd context") }
    self.context = context
  }

  deinit {
    ZSTD_freeDCtx(context)
  }

  /// Decompresses `source`, which must give exactly `target.count` bytes.
  func decompress(
    _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
  ) throws(MilmError) {
    let announced = ZSTD_getFrameContentSize(source.baseAddress, source.count)
    guard announced == UInt64(target.count) else {
      throw MilmError("zstd content: expected \(target.count) bytes, found \(describe(announced))")
    }
    let byteCount = try check(
      ZSTD_decompressDCtx(context, target.baseAddress, target.count, source.baseAddress, source.count))
    guard byteCount == target.count else {
      throw MilmError("zstd content: expected \(target.count) bytes, found \(byteCount)")
    }
  }

  /// zstd has two sizes that are none: 2⁶⁴ − 1 for unknown, 2⁶⁴ − 2 for bytes that are no frame.
  private func describe(_ announced: UInt64) -> String {
    announced >= UInt64.max - 1 ? "no zstd frame of known size" : "\(announced)"
  }
}

/// The size zstd gives, or its error.
private func check(_ result: Int) throws(MilmError) -> Int {
  guard ZSTD_isError(result) == 0 else {
    throw MilmError("zstd: \(String(cString: ZSTD_getErrorName(result)))")
  }
  return result
}
