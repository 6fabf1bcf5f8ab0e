import Foundation

/// How to wait for other ranks without taking a core from the threads that compute.
///
/// Open MPI moves data only inside its calls, so waiting is asking again and again: for a moment without a pause, then in
/// rounds of a few questions with a sleep between them. Who sleeps gets the core back when the time is over; who only
/// yields it waits for the end of a computing thread's time slice, milliseconds.
struct WaitPace {
  private static let eagerTime = Duration.microseconds(50)
  private static let questionsPerSleep = 4
  private static let shortestSleep: Double = 50  // microseconds
  private static let longestSleep: Double = 200

  private var start = ContinuousClock.now
  private var questionCount = 0
  private var sleepMicroseconds = WaitPace.shortestSleep

  /// Something has arrived: be eager again.
  mutating func reset() {
    self = WaitPace()
  }

  /// Lets others run; true after a sleep, when there is time to look at the clock.
  mutating func pause() -> Bool {
    if questionCount == 0, ContinuousClock.now - start < Self.eagerTime { return false }
    questionCount += 1
    guard questionCount % Self.questionsPerSleep == 0 else { return false }
    usleep(useconds_t(sleepMicroseconds))
    sleepMicroseconds = min(sleepMicroseconds * 1.25, Self.longestSleep)
    return true
  }
}
