import Checkpoints
import Crypto
import Foundation
import Platform
import TestSupport
import Testing

struct CheckpointStateTests {
  let open: OpenRun
  let path: String

  init() throws {
    open = try OpenRun()
    path = "\(open.run.checkpointsPath)/step-00000012/state.json"
  }

  private var full: CheckpointState {
    var full = state(step: 12)
    full.skippedStepCount = 3
    full.consecutiveSkippedStepCount = 1
    full.plateau = CheckpointState.Plateau(rateScale: 0.1 + 0.2, evaluationsWithoutGain: 2)
    full.patienceUsed = 4
    full.bestPerplexity = 123.45678901234567
    full.bestStep = 10
    full.pendingEvaluation = CheckpointState.PendingEvaluation(step: 11, perplexity: .greatestFiniteMagnitude)
    full.codecDecisions = [
      CheckpointState.CodecDecision(step: 5, codec: "int8", reason: "slow \"link\" / 1 Gb/s")
    ]
    full.configuration = "# über\nmodel:\n  hidden: 8\n"
    return full
  }

  private func read() throws -> CheckpointState {
    try Checkpoint(directory: "\(open.run.checkpointsPath)/step-00000012").state
  }

  /// The file's text up to the comma before `checksum`.
  private func members() throws -> [UInt8] {
    Array(try bytes(path).dropLast(",\n  \"checksum\" : \"\"\n}\n".utf8.count + 64))
  }

  /// Writes a state file of these members with a valid checksum.
  private func seal(_ members: [UInt8]) throws {
    try replaceContent(path, sealed(members))
  }

  private func sealed(_ members: [UInt8]) -> [UInt8] {
    let digest = SHA256.hash(data: members + Array("\n}\n".utf8))
    let checksum = digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    return members + Array(",\n  \"checksum\" : \"\(checksum)\"\n}\n".utf8)
  }

  private func replaceInMembers(_ text: String, with other: String) throws {
    let members = String(decoding: try members(), as: UTF8.self)
    try #require(members.contains(text))
    try seal(Array(members.replacing(text, with: other).utf8))
  }

  @Test func roundTrips() throws {
    try withFiles([.model]) { _ = try open.store.write(files: $0, state: full) }
    var expected = full
    expected.files = [
      "model.safetensors": try FileDigest(
        ofFile: "\(open.run.checkpointsPath)/step-00000012/model.safetensors")
    ]
    #expect(try read() == expected)
  }

  /// In a separate process, because compute engines of other tests flush denormals on their threads.
  @Test(
    arguments: [Double.infinity, -Double.infinity, 0.1, .leastNonzeroMagnitude, 1.0 / 3, -0.0, 1e300]
      as [Double])
  func preservesEveryBitOfANumber(value: Double) async {
    await #expect(processExitsWith: .success) { [bits = value.bitPattern as UInt64] in
      let open = try OpenRun()
      var written = state(step: 12)
      written.bestPerplexity = Double(bitPattern: bits)
      let location = try open.store.write(files: [], state: written)
      #expect(try Checkpoint(directory: location.path).state.bestPerplexity?.bitPattern == bits)
    }
  }

  @Test func endsWithTheChecksumOfTheFileWithoutIt() throws {
    try open.store.write(files: [], state: full)
    let content = try bytes(path)
    let lines = String(decoding: content, as: UTF8.self).split(separator: "\n")
    #expect(lines.dropLast().last?.hasPrefix("  \"checksum\" : \"") == true)
    #expect(lines.last == "}")

    try seal(try members())
    #expect(try bytes(path) == content)
    let object = try JSONSerialization.jsonObject(with: Data(content)) as? [String: Any]
    #expect(object?["step"] as? Int == 12)
    #expect(object?["configuration"] as? String == full.configuration)
  }

  @Test func refusesEveryFlippedBit() throws {
    try open.store.write(files: [], state: full)
    let content = try bytes(path)
    for index in content.indices {
      var corrupted = content
      corrupted[index] ^= 1 << (index % 8)
      try replaceContent(path, corrupted)
      let error = try refusal { _ = try read() }
      #expect(error.hasPrefix("\(path): "))
    }
  }

  @Test func refusesEveryTruncation() throws {
    try open.store.write(files: [], state: full)
    let content = try bytes(path)
    for count in 0..<content.count {
      try replaceContent(path, content.prefix(count))
      _ = try refusal { _ = try read() }
    }
  }

  static let unusable: [(text: String, other: String, complaint: String)] = [
    ("\"formatVersion\" : 1", "\"formatVersion\" : 2", "expected formatVersion 1, found 2"),
    ("\"formatVersion\" : 1", "\"formatVersion\" : null", "expected formatVersion 1, found none"),
    ("\"step\" : 12", "\"stop\" : 12", "expected a field step, found none"),
    ("\"step\" : 12", "\"step\" : \"12\"", "as step, found another type"),
    ("\"step\" : 12", "\"step\" : 1e40", "step"),
    ("\"step\" : 12", "\"step\" : -1", "expected a step from 0 to 2199023255552, found -1"),
    ("\"step\" : 12", "\"step\" : 12, \"step\" : 13", "occurs twice"),
    ("\"step\" : 12", "\"step\" : [[[[[[[[[[[[12]]]]]]]]]]]]", "nested deeper than 8"),
    ("\"rankCount\" : 2", "\"rankCount\" : 0", "expected a rankCount from 1 to 1048576, found 0"),
    (
      "\"skippedStepCount\" : 0", "\"skippedStepCount\" : 13",
      "expected a skippedStepCount from 0 to 12, found 13"
    ),
    (
      "\"segmentIndex\" : 12", "\"segmentIndex\" : 9223372036854775807",
      "expected a segmentIndex from 0 to 9007199254740992"
    ),
    (
      "\"segmentIndex\" : 12", "\"segmentIndex\" : 11",
      "expected as many segments as steps or more, found 11 and 12"
    ),
    ("\"tokenCount\" : 49152", "\"tokenCount\" : 9223372036854775806", "expected a tokenCount from 0 to"),
    ("\"patienceUsed\" : 0", "\"patienceUsed\" : 9223372036854775807", "expected a patienceUsed from 0"),
    ("\"rateScale\" : 1", "\"rateScale\" : \"NaN\"", "expected a plateau.rateScale from 0 to 1, found nan"),
    ("\"step\" : 12", "\"step\" : 12, \"bestStep\" : 13", "expected a bestStep from 0 to 12, found 13"),
    ("\"step\" : 12", "\"step\" : 12, \"nodeOfRank\" : []", "expected the node of each of 2 ranks"),
    (
      "\"step\" : 12", "\"step\" : 12, \"nodeOfRank\" : [0, 9223372036854775807]", "expected the node of each"
    ),
    (
      "\"step\" : 12", "\"step\" : 12, \"vocabularyGroupSize\" : 0",
      "vocabularyGroupSize from 1 to 2, found 0"
    ),
    ("\"step\" : 12", "\"step\" : 12, \"metricsLineCount\" : -1", "metricsLineCount from 0 to 12, found -1"),
    (
      "\"step\" : 12",
      "\"step\" : 12, \"guardRecord\" : {\"rateScale\" : 1, \"returnCount\" : 0, \"losses\" : [1], \"norms\" : []}",
      "expected as many guardRecord.losses as norms"
    ),
    (
      "\"step\" : 12",
      "\"step\" : 12, \"guardRecord\" : {\"rateScale\" : 1, \"returnCount\" : 0, \"losses\" : [\"NaN\"], \"norms\" : [1]}",
      "expected finite numbers in guardRecord, found nan"
    ),
    ("model.safetensors", "../model.safetensors", "found ../model.safetensors"),
    ("model.safetensors", "..", "found .."),
    ("model.safetensors", "state.json", "found state.json"),
    ("\"step\" : 12", "\"step\" : 12]", "expected JSON, found"),
  ]

  @Test(arguments: unusable)
  func refusesInvalidValuesWithAValidChecksum(text: String, other: String, complaint: String) throws {
    try withFiles([.model]) { _ = try open.store.write(files: $0, state: state(step: 12)) }
    try replaceInMembers(text, with: other)
    let error = try refusal { _ = try read() }
    #expect(error.contains(complaint), "\(error)")
  }

  @Test func ignoresUnknownFields() throws {
    try open.store.write(files: [], state: state(step: 12))
    try replaceInMembers("\"step\" : 12", with: "\"step\" : 12,\n  \"stop\" : [1]")
    #expect(try read() == state(step: 12))
  }

  @Test func refusesAFileThatIsTooLong() throws {
    try open.store.write(files: [], state: state(step: 12))
    try seal(try members() + Array(repeating: UInt8(ascii: " "), count: 16 << 20))
    #expect(try refusal { _ = try read() }.contains("expected at most 16777216 bytes"))
  }

  @Test func survivesRandomChangesWithAndWithoutAValidChecksum() throws {
    try withFiles([.model]) { _ = try open.store.write(files: $0, state: full) }
    let original = try members()
    var generator = SplitMix64(state: 2)
    var (sealedCount, passedCount, acceptedCount) = (0, 0, 0)
    let whole = try bytes(path)
    for number in 0..<fuzzCount {
      let isSealed = number % 2 == 0
      sealedCount += isSealed ? 1 : 0
      let content = isSealed ? sealed(mutated(original, &generator)) : mutated(whole, &generator)
      do {
        _ = try CheckpointState(encoded: content, path: path)
        #expect(isSealed || content == whole)
        acceptedCount += 1
        passedCount += 1
      } catch let error as MilmError {
        if !error.description.contains("checksum") { passedCount += 1 }
        #expect(!error.description.contains("\n"))
      }
    }
    // Some changes of texts and numbers are valid.
    reportFuzz(
      "state.json", sealedCount: sealedCount, passedCount: passedCount, acceptedCount: acceptedCount)
    #expect((fuzzCount / 100..<fuzzCount / 2).contains(acceptedCount), "\(acceptedCount)")
  }
}
