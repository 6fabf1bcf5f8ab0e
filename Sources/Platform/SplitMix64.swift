/// The SplitMix64 generator (Steele, Lea, Flood 2014).
package struct SplitMix64: RandomNumberGenerator, Sendable {
  /// The step of its Weyl sequence: 2⁶⁴ divided by the golden ratio.
  package static var increment: UInt64 { 0x9E37_79B9_7F4A_7C15 }

  private var state: UInt64

  /// The sequence that starts at `state`.
  package init(state: UInt64) {
    self.state = state
  }

  /// The next number of the sequence.
  package mutating func next() -> UInt64 {
    state &+= Self.increment
    return Self.mix(state)
  }

  /// The finalizer, a bijection of 64 bits.
  package static func mix(_ value: UInt64) -> UInt64 {
    var bits = value
    bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
    return bits ^ (bits >> 31)
  }
}
