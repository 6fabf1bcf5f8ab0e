import Foundation

/// How to wait for other ranks without taking a core from the threads that compute.
///
/// Open MPI moves data only inside its calls, so waiting is asking again and again: at first at once, then in
/// rounds of a few questions with a sleep between them.
struct WaitPace {
  private static let eagerQuestionCount = 16
  private static let questionsPerSleep = 8
  private static let shortestSleep: Double = 50  // microseconds
  private static let longestSleep: Double = 200

  private var questionCount = 0
  private var sleepMicroseconds = WaitPace.shortestSleep

  /// Something has arrived: be eager again.
  mutating func reset() {
    self = WaitPace()
  }

  /// Lets others run; true after a sleep, when there is time to look at the clock.
  mutating func pause() -> Bool {
    questionCount += 1
    guard questionCount > Self.eagerQuestionCount else {
      sched_yield()
      return false
    }
    guard questionCount % Self.questionsPerSleep == 0 else { return false }
    usleep(useconds_t(sleepMicroseconds))
    sleepMicroseconds = min(sleepMicroseconds * 1.25, Self.longestSleep)
    return true
  }
}
