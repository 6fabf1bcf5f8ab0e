import Communication
import Foundation
import TestSupport

/// Decodes a million mutants of valid frames (default of the environment variable `MILM_FUZZ_COUNT`), half of them with a
/// corrected checksum: each gives values or an error.
func mutantsAreRefused(_ ranks: Ranks) throws {
  let count = ProcessInfo.processInfo.environment["MILM_FUZZ_COUNT"].flatMap { Int($0) } ?? 1_000_000
  for codec in Codec.allCases {
    var fuzz = FrameFuzz(codec: codec, seed: UInt64(ranks.rank) + 1)
    let tally = try fuzz.run(count / Codec.allCases.count)
    let name = codec.rawValue.padding(toLength: 8, withPad: " ", startingAt: 0)
    print(
      "\(name) \(tally.mutantCount) mutants: \(tally.pastHeaderCount) passed the header, "
        + "\(tally.decodedCount) decoded, \(tally.refusedCount) refused")
    try claim(tally.pastHeaderCount > tally.mutantCount / 20, "expected mutants past the header check")
    try claim(tally.refusedCount > tally.mutantCount / 2, "expected most mutants to be refused")
  }
}
