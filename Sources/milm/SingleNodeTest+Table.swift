import Foundation
import Platform
import Training

extension [SingleNodeTest.Check] {
  /// Prints a row for each check and the number of passed and failed ones.
  func printTable() throws {
    let width = reduce(0) { Swift.max($0, $1.name.count) } + 2
    for check in self {
      let time = String(format: "%6.2f s", check.seconds)
      let name = check.name.padding(toLength: width, withPad: " ", startingAt: 0)
      let verdict = check.failure == nil ? "passed" : "FAILED"
      try StandardStream.output.print("\(verdict)  \(name)\(time)  \(check.failure ?? check.detail)")
    }
    let passed = count { $0.failure == nil }
    try StandardStream.output.print("\(passed) passed, \(count - passed) failed")
  }
}
