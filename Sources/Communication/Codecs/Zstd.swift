import CZstd
import Platform

/// A reusable zstd compressor, for one thread.
struct ZstdCompressor: ~Copyable {
  private let context: OpaquePointer

  init() {
    context = SystemMemory.require(ZSTD_createCCtx(), for: "a zstd context")
  }

  deinit {
    ZSTD_freeCCtx(context)
  }

  /// Whether compressing a long source is worthwhile, from samples at four places.
  ///
  /// Mantissas are mostly noise, and zstd takes as long to find that out as to compress.
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
    return Double(byteCount) < Double(sampledByteCount) * compression.largestFraction
      && price.isWorthwhile(byteCount: sampledByteCount - byteCount, coreSeconds: coreSeconds - start)
  }

  /// Compresses into `target` if the result is shorter than the source; nil if it is not, or does not fit.
  func compress(
    _ source: UnsafeRawBufferPointer, _ compression: Compression, into target: UnsafeMutableRawBufferPointer
  ) throws(MilmError) -> Int? {
    guard source.count > 1 else { return nil }
    _ = try checked(ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters))
    _ = try checked(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, CInt(compression.level)))
    if compression.codesLiterals { _ = try checked(CZstd_compressLiterals(context)) }
    let capacity = min(target.count, source.count - 1)
    let result = ZSTD_compress2(context, target.baseAddress, capacity, source.baseAddress, source.count)
    guard ZSTD_getErrorCode(result) != ZSTD_error_dstSize_tooSmall else { return nil }
    return try checked(result)
  }
}

/// A reusable zstd decompressor, for one thread.
struct ZstdDecompressor: ~Copyable {
  private let context: OpaquePointer

  init() {
    context = SystemMemory.require(ZSTD_createDCtx(), for: "a zstd context")
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
    let byteCount = try checked(
      ZSTD_decompressDCtx(context, target.baseAddress, target.count, source.baseAddress, source.count))
    guard byteCount == target.count else {
      throw MilmError("zstd content: expected \(target.count) bytes, found \(byteCount)")
    }
  }

  /// zstd returns 2⁶⁴ − 1 for an unknown size, 2⁶⁴ − 2 for bytes that are not a frame.
  private func describe(_ announced: UInt64) -> String {
    announced >= UInt64.max - 1 ? "no zstd frame of known size" : "\(announced)"
  }
}

/// Returns the size of a zstd result, or throws its error.
private func checked(_ result: Int) throws(MilmError) -> Int {
  guard ZSTD_isError(result) == 0 else {
    throw MilmError("zstd: \(String(cString: ZSTD_getErrorName(result)))")
  }
  return result
}

/// The cost of a byte on the wire, to compare with the cost of compressing it.
///
/// Wire time that overlaps with computing is free, and so is core time while the step waits for the wire: the exposed
/// fraction of the wire time is estimated from previous steps. Decisions change bytes, never values, so ranks need not agree.
package struct WirePrice: Sendable {
  /// Weight of the last step in the exponential moving average of the exposed fraction.
  private static let lastStepWeight = 0.5

  private var secondsPerByte = 0.0
  /// Exposed fraction of the wire time; 1 until it is known.
  private var exposedFraction = 1.0

  /// The price before the first step.
  package init() {}

  /// The price where all wire time overlaps with computing.
  static var nothing: WirePrice {
    var price = WirePrice()
    price.exposedFraction = 0
    return price
  }

  /// Whether saving `byteCount` bytes on the wire is worth `coreSeconds` of compression.
  package func isWorthwhile(byteCount: Int, coreSeconds: Double) -> Bool {
    Double(byteCount) * secondsPerByte * exposedFraction >= coreSeconds * (1 - exposedFraction)
  }

  /// Updates the estimates with a step: bytes sent, wire seconds, and the exposed seconds.
  package mutating func update(wireByteCount: Int, wireSeconds: Double, exposedSeconds: Double) {
    guard wireByteCount > 0, wireSeconds > 0 else { return }
    secondsPerByte = wireSeconds / Double(wireByteCount)
    let fraction = min(exposedSeconds / wireSeconds, 1)
    exposedFraction += Self.lastStepWeight * (fraction - exposedFraction)
  }
}
