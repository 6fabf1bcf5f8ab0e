import Foundation
import Platform

/// The number of mutations that a fuzz test tries: `MILM_FUZZ_COUNT` (default: few enough for every run).
package let fuzzCount = ProcessInfo.processInfo.environment["MILM_FUZZ_COUNT"].flatMap { Int($0) } ?? 5000

/// Prints the results of the mutations of one kind of file, and the peak memory of this process.
///
/// `passedCount` mutations had a valid header, checksum or syntax, so that later checks were reached.
package func reportFuzz(_ kind: String, sealedCount: Int, passedCount: Int, acceptedCount: Int) {
  let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
  let peak =
    status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }.map(String.init) ?? "VmHWM unknown"
  print(
    "fuzzed \(kind): \(fuzzCount) mutations, \(sealedCount) with a checksum that fits, \(passedCount) passed the header, "
      + "\(acceptedCount) acceptable, no crash; \(peak)")
}

/// A copy with one to four random changes of kinds that upset parsers.
package func mutated(_ original: [UInt8], _ generator: inout SplitMix64) -> [UInt8] {
  var bytes = original
  let snippets = [
    "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "-", "9", "1e999", "null", "\0", "é", "[[[[[[", "../",
    "9223372036854775807", "&a ", "*a", "\n", "? ", "- ", "!!int ",
  ]
  for _ in 0..<Int.random(in: 1...4, using: &generator) where !bytes.isEmpty {
    let position = Int.random(in: 0..<bytes.count, using: &generator)
    switch Int.random(in: 0..<5, using: &generator) {
    case 0: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
    case 1: bytes[position] = UInt8.random(in: 0...255, using: &generator)
    case 2: bytes.remove(at: position)
    case 3: bytes.insert(contentsOf: (snippets.randomElement(using: &generator) ?? "").utf8, at: position)
    default:
      let end = min(bytes.count, position + Int.random(in: 1...20, using: &generator))
      bytes.insert(
        contentsOf: Array(bytes[position..<end]), at: Int.random(in: 0..<bytes.count, using: &generator))
    }
  }
  return bytes
}
