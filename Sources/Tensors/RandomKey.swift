import CKernels

/// Names one stream of random numbers: a pure function of what it was made from,
/// with no state to save or to lose.
public struct RandomKey: Sendable, Equatable {
  /// The 64 bits that a loop mixes with the number of an element.
  public let bits: UInt64

  /// The stream of a seed.
  public init(seed: UInt64) {
    bits = Self.mix(seed &+ 0x9E37_79B9_7F4A_7C15)
  }

  private init(bits: UInt64) { self.bits = bits }

  /// The stream of a purpose, or of a tensor, within this one.
  public func derived(_ purpose: String) -> RandomKey {
    var text = purpose
    let hash = text.withUTF8 { CKernels_xxh64($0.baseAddress, $0.count, bits) }
    return RandomKey(bits: Self.mix(hash))
  }

  /// The stream of a number, such as a step or a lane, within this one.
  public func derived(_ number: Int) -> RandomKey {
    RandomKey(bits: Self.mix(bits ^ Self.mix(UInt64(bitPattern: Int64(number)) &+ 0xD1B5_4A32_D192_ED03)))
  }

  /// Element `index` of the stream, uniform in [0, 1), with 53 random bits.
  public func uniform(_ index: Int) -> Double {
    Double(derived(index).bits >> 11) * 0x1p-53
  }

  /// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
  private static func mix(_ value: UInt64) -> UInt64 {
    var x = value
    x = (x ^ (x >> 30)) &* 0xBF58_476D_1CE4_E5B9
    x = (x ^ (x >> 27)) &* 0x94D0_49BB_1331_11EB
    return x ^ (x >> 31)
  }
}

extension ComputeEngine {
  /// Fills `count` elements uniformly in (−limit, limit), each a function of the key and its place alone.
  public func fillUniformly(
    _ values: UnsafeMutablePointer<Float>, count: Int, limit: Float, key: RandomKey
  ) {
    let target = Matrix(values, rowCount: 1, columnCount: count)
    forEachPart(of: count, minimumPartCount: 1 << 16) { range in
      CKernels_uniform(
        target.data + range.lowerBound, range.count, key.bits, UInt64(range.lowerBound), limit)
    }
  }
}
