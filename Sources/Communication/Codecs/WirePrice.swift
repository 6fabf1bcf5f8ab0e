/// What a byte on the wire costs, to be held against what it costs to make it fewer.
///
/// A second of the wire that hides behind computing costs nothing, and a second of a core costs nothing while the step
/// waits for the wire: which of them a step has more of is learned from the steps before. What is decided changes bytes,
/// never values, so ranks need not agree.
public struct WirePrice: Sendable {
  /// How much the last step counts.
  private static let newest = 0.5

  /// Seconds of the wire a byte takes.
  private var secondsPerByte = 0.0
  /// The share of the wire's seconds that the step waits for; until it is known, all.
  private var exposedShare = 1.0

  /// The price before anything is known.
  public init() {}

  /// The price where all of the wire hides.
  static var nothing: WirePrice {
    var price = WirePrice()
    price.exposedShare = 0
    return price
  }

  /// Whether it pays to spend so many seconds of a core on having so many bytes fewer.
  public func pays(byteCount: Int, coreSeconds: Double) -> Bool {
    Double(byteCount) * secondsPerByte * exposedShare >= coreSeconds * (1 - exposedShare)
  }

  /// Takes in what a step's exchange has cost: bytes sent, the seconds that took, and those that the step waited for it.
  public mutating func learn(wireByteCount: Int, wireSeconds: Double, exposedSeconds: Double) {
    guard wireByteCount > 0, wireSeconds > 0 else { return }
    secondsPerByte = wireSeconds / Double(wireByteCount)
    let share = min(exposedSeconds / wireSeconds, 1)
    exposedShare += Self.newest * (share - exposedShare)
  }
}
