import Platform

/// The key of a stream of random numbers, a pure function of what it is derived from, without state.
package struct RandomKey: Sendable, Equatable {
  /// The 64 bits that are mixed with the index of an element.
  package let bits: UInt64

  /// The stream of a seed.
  package init(seed: UInt64) {
    bits = SplitMix64.mix(seed &+ SplitMix64.increment)
  }

  private init(bits: UInt64) { self.bits = bits }

  /// The stream of a purpose, or of a tensor, within this one.
  package func derived(_ purpose: String) -> RandomKey {
    var text = purpose
    let hash = text.withUTF8 { XXH64.hash(UnsafeRawBufferPointer($0), seed: bits) }
    return RandomKey(bits: SplitMix64.mix(hash))
  }

  /// The stream of a number, such as a step or a lane, within this one.
  package func derived(_ number: Int) -> RandomKey {
    RandomKey(
      bits: SplitMix64.mix(bits ^ SplitMix64.mix(UInt64(bitPattern: Int64(number)) &+ 0xD1B5_4A32_D192_ED03)))
  }

  /// Element `index` of the stream, uniform in [0, 1), with 53 random bits.
  package func uniform(_ index: Int) -> Double {
    Double(derived(index).bits >> 11) * 0x1p-53
  }
}
