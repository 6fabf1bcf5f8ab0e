import Platform

/// How long a rank waits for others that make no progress.
public struct StallLimits: Sendable {
  /// Seconds without progress until one line names the late ranks.
  public let warnSeconds: Double
  /// Seconds without progress until the operation fails.
  public let abortSeconds: Double
  /// Gets the line, on the communication thread.
  public let warn: @Sendable (String) -> Void

  /// Limits that call `warn` once an operation, at most.
  public init(warnSeconds: Double, abortSeconds: Double, warn: @escaping @Sendable (String) -> Void) {
    self.warnSeconds = warnSeconds
    self.abortSeconds = abortSeconds
    self.warn = warn
  }
}

/// When and in what state ranks were last heard of, apart from any operation.
public protocol Liveness: AnyObject, Sendable {
  /// Seconds since a rank gave a sign of life.
  func silentSeconds(of rank: Int) -> Double
  /// What it was doing then.
  func lastState(of rank: Int) -> String
  /// What this rank itself is doing.
  var activity: RankActivity { get }
  /// How long any operation waits for ranks that give no sign of life.
  var silenceLimits: StallLimits { get }
  /// Sets them.
  func limitSilence(_ limits: StallLimits)
  /// How many seconds an operation without limits of its own waits for ranks that do give signs of life.
  var patienceSeconds: Double { get }
  /// Says that from now on a rank may make others wait for as long as it gives signs of life.
  func liftStartLimit()
}

/// What is heard of some of the ranks that a communicator was split from.
final class SubsetLiveness: Liveness {
  private let base: any Liveness
  private let ranks: [Int]

  /// Rank r of the subset is rank `ranks[r]` of `base`.
  init(_ base: any Liveness, ranks: [Int]) {
    self.base = base
    self.ranks = ranks
  }

  func silentSeconds(of rank: Int) -> Double { base.silentSeconds(of: ranks[rank]) }
  func lastState(of rank: Int) -> String { base.lastState(of: ranks[rank]) }
  var activity: RankActivity { base.activity }
  var silenceLimits: StallLimits { base.silenceLimits }
  func limitSilence(_ limits: StallLimits) { base.limitSilence(limits) }
  var patienceSeconds: Double { base.patienceSeconds }
  func liftStartLimit() { base.liftStartLimit() }
}

/// Measures the time without progress in one operation, and knows what to say when it is too long.
///
/// A rank may make others wait for as long as it gives signs of life, unless the operation has limits of its own.
struct StallWatch {
  /// A gap between two looks at the clock beyond which this process was stopped itself; it proves nothing.
  private static let ownStopSeconds = 2.0
  private static let secondsBetweenLooks = 0.1

  private let limits: StallLimits?
  private let operation: CollectiveOperation
  private let rank: Int
  private let label: (Int) -> String
  private let liveness: (any Liveness)?
  private var lastProgress = ContinuousClock.now
  private var lastLook = ContinuousClock.now
  private var hasWarned = false

  init(
    _ limits: StallLimits?, operation: CollectiveOperation, rank: Int, label: @escaping (Int) -> String,
    liveness: (any Liveness)? = nil
  ) {
    self.limits = limits
    self.operation = operation
    self.rank = rank
    self.label = label
    self.liveness = liveness
    liveness?.activity.begin(operation, abortSeconds: liveness?.silenceLimits.abortSeconds)
  }

  mutating func noteProgress() {
    lastProgress = .now
    lastLook = lastProgress
    liveness?.activity.sign()
  }

  /// Says that the operation is over.
  func end() {
    liveness?.activity.end()
  }

  /// Warns once, then throws, when the limits are passed; `lateRanks` is asked only then.
  mutating func check(_ lateRanks: () -> [Int]) throws(MilmError) {
    let gap = (ContinuousClock.now - lastLook).inSeconds
    guard gap >= Self.secondsBetweenLooks else { return }
    lastLook = .now
    if gap > Self.ownStopSeconds { lastProgress += .seconds(gap) }
    liveness?.activity.sign()
    let seconds = (ContinuousClock.now - lastProgress).inSeconds
    if let limits, seconds >= limits.abortSeconds {
      throw MilmError("\(sentence(seconds, lateRanks())); the limit is \(limits.abortSeconds) s")
    }
    try checkSilence(seconds, lateRanks)
    if limits == nil, let patience = liveness?.patienceSeconds, seconds >= patience {
      throw MilmError("\(sentence(seconds, lateRanks())); the limit of the start is \(patience) s")
    }
    guard let general = limits ?? liveness?.silenceLimits else { return }
    if seconds >= general.warnSeconds && !hasWarned {
      hasWarned = true
      general.warn(sentence(seconds, lateRanks()))
    }
  }

  private func checkSilence(_ seconds: Double, _ lateRanks: () -> [Int]) throws(MilmError) {
    guard let liveness, seconds >= liveness.silenceLimits.abortSeconds / 2 else { return }
    let abortSeconds = liveness.silenceLimits.abortSeconds
    let silent = lateRanks().filter { liveness.silentSeconds(of: $0) >= abortSeconds }
    guard silent.isEmpty else {
      throw MilmError(
        "\(sentence(seconds, silent)), which gave no sign of life; the limit is \(abortSeconds) s")
    }
  }

  private func sentence(_ seconds: Double, _ late: [Int]) -> String {
    let names = late.map { late in
      label(late) + (liveness.map { ", last known at \($0.lastState(of: late))" } ?? "")
    }.joined(separator: "; ")
    let tenths = (seconds * 10).rounded() / 10
    return
      "\(label(rank)) has waited \(tenths) s without progress at \(operation) for \(names)"
  }
}
