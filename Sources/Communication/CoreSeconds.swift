import Foundation

/// What this thread has had of a core, in seconds: what others take of it meanwhile says nothing about its work.
var coreSeconds: Double {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
}
