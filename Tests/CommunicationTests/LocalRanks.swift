import Foundation

/// A made-up number between −1 and 1, a pure function of its arguments.
func noise(_ seed: Int, _ index: Int) -> Float {
  var bits = (UInt64(bitPattern: Int64(seed)) &+ 1) &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(index)
  bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
  bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
  return Float(Int64(bitPattern: bits ^ (bits >> 31)) >> 40) / Float(1 << 23)
}

/// Numbers like a gradient's: rows of 32 whose sizes differ by five orders of magnitude.
func gradient(seed: Int, count: Int) -> [Float] {
  (0..<count).map { noise(seed, $0) * Float(pow(10, Double(-($0 / 32 % 6)))) }
}

extension Sequence where Element == Float {
  /// The bits, to compare NaN and the sign of zero too.
  var bits: [UInt32] { map(\.bitPattern) }
}
