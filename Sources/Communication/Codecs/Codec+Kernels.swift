import CKernels

/// What rounding lost at earlier steps, and where what it loses now goes.
///
/// Both have as many elements as the values encoded; they do not overlap each other nor the values.
public struct ErrorFeedback {
  /// Added to the values before they are rounded.
  public let residual: UnsafePointer<Float>
  /// Gets the sum minus what the receivers will decode.
  public let remainder: UnsafeMutablePointer<Float>

  /// Feedback from one buffer into another.
  public init(residual: UnsafePointer<Float>, remainder: UnsafeMutablePointer<Float>) {
    self.residual = residual
    self.remainder = remainder
  }
}

extension Codec {
  /// Writes the sections of `count` values to `raw`, one after the other.
  ///
  /// Layouts, all little-endian: `none` floats; `lossless` four planes; `bfloat16` two planes;
  /// `int8` and `int4` the scales in four planes, then the codes. `scales` is scratch, one a block.
  /// A lossy codec needs feedback, an exact one ignores it.
  func encode(
    _ values: UnsafePointer<Float>, count: Int, blockLength: Int, feedback: ErrorFeedback?,
    scales: UnsafeMutablePointer<Float>, into raw: UnsafeMutableRawPointer
  ) {
    let bytes = raw.assumingMemoryBound(to: UInt8.self)
    switch self {
    case .none:
      raw.copyMemory(from: values, byteCount: 4 * count)
    case .lossless:
      CKernels_codecSplitPlanes(values, count, bytes)
    case .bfloat16:
      guard let feedback else { preconditionFailure("\(self) needs error feedback") }
      CKernels_codecEncodeBFloat16(values, feedback.residual, count, bytes, feedback.remainder)
    case .int8:
      guard let feedback else { preconditionFailure("\(self) needs error feedback") }
      let blockCount = count.dividedRoundingUp(by: blockLength)
      let codes = (raw + 4 * blockCount).assumingMemoryBound(to: Int8.self)
      CKernels_codecEncodeInt8(
        values, feedback.residual, count, blockLength, scales, codes, feedback.remainder)
      CKernels_codecSplitPlanes(scales, blockCount, bytes)
    case .int4:
      guard let feedback else { preconditionFailure("\(self) needs error feedback") }
      let blockCount = count.dividedRoundingUp(by: blockLength)
      CKernels_codecEncodeInt4(
        values, feedback.residual, count, blockLength, scales, bytes + 4 * blockCount, feedback.remainder)
      CKernels_codecSplitPlanes(scales, blockCount, bytes)
    }
  }

  /// Reads what `encode` has written.
  func decode(
    _ raw: UnsafeRawPointer, count: Int, blockLength: Int, scales: UnsafeMutablePointer<Float>,
    into values: UnsafeMutablePointer<Float>
  ) {
    let bytes = raw.assumingMemoryBound(to: UInt8.self)
    switch self {
    case .none:
      UnsafeMutableRawPointer(values).copyMemory(from: raw, byteCount: 4 * count)
    case .lossless:
      CKernels_codecJoinPlanes(bytes, count, values)
    case .bfloat16:
      CKernels_codecDecodeBFloat16(bytes, count, values)
    case .int8:
      let blockCount = count.dividedRoundingUp(by: blockLength)
      let codes = (raw + 4 * blockCount).assumingMemoryBound(to: Int8.self)
      CKernels_codecJoinPlanes(bytes, blockCount, scales)
      CKernels_codecDecodeInt8(scales, codes, count, blockLength, values)
    case .int4:
      let blockCount = count.dividedRoundingUp(by: blockLength)
      CKernels_codecJoinPlanes(bytes, blockCount, scales)
      CKernels_codecDecodeInt4(scales, bytes + 4 * blockCount, count, blockLength, values)
    }
  }
}
