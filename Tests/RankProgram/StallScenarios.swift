import Communication
import Foundation

extension Ranks {
  /// Sets short limits, and an activity for the others to print.
  fileprivate func shortenHeartbeatLimits(abortSeconds: Double) {
    let limits = StallLimits(warnSeconds: 1, abortSeconds: abortSeconds) { print("late: \($0)") }
    world.control.liveness?.setHeartbeatLimits(limits)
    world.control.liveness?.activity.note("step 7: forward and backward")
    // Long enough for the activity to reach the others.
    sleep(2)
  }
}

func stoppedRankEndsControlOperations(_ ranks: Ranks) throws {
  ranks.shortenHeartbeatLimits(abortSeconds: 3)
  if ranks.rank == 1 { stopThisProcess() }
  try ranks.thread.run { [control = ranks.world.control] in try control.barrier("checkpoint") }
}

/// Rank 1 of the job is rank 0 of the odd ones.
func stoppedRankEndsASubset(_ ranks: Ranks) throws {
  ranks.shortenHeartbeatLimits(abortSeconds: 3)
  let subset = try ranks.thread.run { [world = ranks.world] in
    try world.control.split(color: world.control.rank % 2)
  }
  if ranks.rank == 1 { stopThisProcess() }
  try ranks.thread.run { try subset.barrier("checkpoint of the odd ranks") }
}

func stoppedRankEndsABroadcast(_ ranks: Ranks) throws {
  ranks.shortenHeartbeatLimits(abortSeconds: 3)
  try ranks.thread.run { [control = ranks.world.control] in
    if control.rank == 1 { stopThisProcess() }
    var bytes = [UInt8](repeating: 1, count: 100)
    try bytes.withUnsafeMutableBytes { try control.broadcast(.control("settings"), $0, from: 1) }
  }
}

func stoppedRankEndsItsNode(_ ranks: Ranks) throws {
  ranks.shortenHeartbeatLimits(abortSeconds: 3)
  let exchange = try GradientExchange(
    communicator: ranks.world.gradients, thread: ranks.thread, elementCount: 8,
    ranges: [ExchangeRange(range: 0..<8, blockLength: 8, name: "table")],
    configuration: ExchangeConfiguration(codec: .int8))
  if ranks.rank == 1 { stopThisProcess() }
  var values = [Float](repeating: 1, count: 8)
  try values.withUnsafeMutableBufferPointer { buffer in
    guard let start = buffer.baseAddress else { return }
    exchange.begin(step: 3, flushing: false, gradient: start)
    try exchange.submit(range: 0..<8)
    _ = try exchange.finish()
  }
}

/// Like a rank 0 that waits for a disk: its heartbeat continues, so the others wait longer than the limit.
func aRankThatLivesMayBeSlow(_ ranks: Ranks) throws {
  ranks.shortenHeartbeatLimits(abortSeconds: 3)
  if ranks.rank == 0 {
    ranks.world.control.liveness?.activity.note("writing a checkpoint")
    sleep(7)
  } else {
    // On a busy machine the heartbeat of rank 0 may be late.
    sleep(2)
  }
  try ranks.thread.run { [control = ranks.world.control] in try control.barrier("checkpoint") }
}

/// Rank 0 evaluates for longer than the limit of warnings, and says so.
func aLongEvaluationIsNoStall(_ ranks: Ranks) throws {
  ranks.shortenHeartbeatLimits(abortSeconds: 30)
  if ranks.rank == 0 {
    ranks.world.control.liveness?.activity.note("evaluation of step 7", isExpectedToLast: true)
    sleep(4)
  } else {
    // The activity of rank 0 has to arrive.
    sleep(2)
  }
  try ranks.thread.run { [control = ranks.world.control] in try control.barrier("perplexity of step 7") }
}

func killedRankEndsTheJob(_ ranks: Ranks) throws {
  if ranks.rank == 1 { raise(SIGKILL) }
  try ranks.thread.run { [control = ranks.world.control] in try control.barrier("checkpoint") }
}
