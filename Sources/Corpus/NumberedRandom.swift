/// Random numbers without a state: the same seed, purpose and index give the same number.
struct NumberedRandom {
  private let key: UInt64

  init(seed: UInt64, purpose: UInt64) {
    key = Self.mix(Self.mix(seed) &+ purpose)
  }

  func bits(_ index: Int) -> UInt64 {
    Self.mix(key &+ UInt64(truncatingIfNeeded: index) &* 0x9E37_79B9_7F4A_7C15)
  }

  /// At least 0 and below 1.
  func fraction(_ index: Int) -> Double { Double(bits(index) >> 11) * 0x1p-53 }

  func integer(_ index: Int, below bound: Int) -> Int {
    Int(bits(index).multipliedFullWidth(by: UInt64(bound)).high)
  }

  /// The finaliser of SplitMix64.
  private static func mix(_ value: UInt64) -> UInt64 {
    var mixed = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
