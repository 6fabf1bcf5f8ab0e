import Platform

/// Random numbers without a state: the same seed, purpose and index give the same number.
struct NumberedRandom {
  private let key: UInt64

  init(seed: UInt64, purpose: UInt64) {
    key = SplitMix64.mix(SplitMix64.mix(seed) &+ purpose)
  }

  func bits(_ index: Int) -> UInt64 {
    SplitMix64.mix(key &+ UInt64(truncatingIfNeeded: index) &* SplitMix64.increment)
  }

  /// At least 0 and below 1.
  func fraction(_ index: Int) -> Double { Double(bits(index) >> 11) * 0x1p-53 }

  func integer(_ index: Int, below bound: Int) -> Int {
    Int(bits(index).multipliedFullWidth(by: UInt64(bound)).high)
  }
}
