/// What the operands of matrix products are; sums are always fp32.
public enum Precision: String, CaseIterable, Sendable, Codable {
  /// The upper half of fp32: 8 bits of mantissa, the same range.
  case bfloat16
  /// Single precision.
  case float32

  /// How many bytes an operand's element takes.
  public var byteCount: Int {
    switch self {
    case .bfloat16: 2
    case .float32: 4
    }
  }
}
