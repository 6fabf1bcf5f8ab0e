import Checkpoints
import Foundation
import Platform
import TestSupport
import Testing
import Training

/// Malicious configurations, alone and in checkpoints.
struct HostileConfigurationTests {
  @Test func randomChangesAreRefusedOrHarmless() throws {
    let original = Array(RunConfiguration().yaml.utf8)
    var generator = SplitMix64(state: 3)
    var (syntaxCount, acceptedCount) = (0, 0)
    for _ in 0..<fuzzCount {
      let text = String(decoding: mutated(original, &generator), as: UTF8.self)
      do {
        let configuration = try RunConfiguration(yaml: text, source: "fuzz")
        #expect(try RunConfiguration(yaml: configuration.yaml, source: "again") == configuration)
        acceptedCount += 1
        syntaxCount += 1
      } catch {
        if !"\(error)".contains("expected YAML, found") { syntaxCount += 1 }
        #expect(!"\(error)".contains { $0.isNewline }, "\(error)")
      }
    }
    reportFuzz(
      "configuration", sealedCount: 0, passedCount: syntaxCount, acceptedCount: acceptedCount)
    #expect((fuzzCount / 400..<fuzzCount / 2).contains(acceptedCount), "\(acceptedCount)")
  }

  private static let depth = 200_000

  private static let texts = [
    "lists": String(repeating: "[", count: depth), "objects": String(repeating: "{a: ", count: depth),
    "dashes": String(repeating: "- ", count: depth), "questions": String(repeating: "? ", count: depth),
    "lists in a section": "model: " + String(repeating: "[", count: depth),
    "tagged objects": "model: { hidden: !!int " + String(repeating: "{", count: 900),
    "aliases of aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nmodel: *c",
    "aliases as keys": (0..<40).reduce("a0: &a0 [x, x]\n") {
      $0 + "a\($1 + 1): &a\($1 + 1) [*a\($1), *a\($1)]\n"
    }
      + "? *a40\n: 1\n? { *a40 : 1 }\n: 2\n",
    "nested keys": String(repeating: "? ", count: 3000) + "a",
    "objects as keys": String(repeating: "{", count: 15) + "a: 1" + String(repeating: "}: 1", count: 14)
      + "}",
    "a long key": String(repeating: "k", count: 900_000) + ": 1",
    "a line break": "model: { hidden: \"a\\nb\" }",
  ]

  @Test(arguments: texts.keys.sorted())
  func maliciousTextsAreRefusedQuicklyInOneLine(name: String) throws {
    let text = try #require(Self.texts[name])
    let clock = ContinuousClock()
    let begun = clock.now
    let error = #expect(throws: MilmError.self) { try RunConfiguration(yaml: text, source: "hostile") }
    #expect(error?.description.contains { $0.isNewline } == false)
    #expect((error?.description.count ?? 0) < 5000)
    #expect(clock.now - begun < .seconds(20))
  }

  /// The checkpoint is consistent except for its size.
  @Test func aCheckpointThatClaimsAHugeModelIsRefusedBeforeMemoryIsTaken() throws {
    let bench = try TrainingBench()
    try bench.train(try bench.configuration("training.steps=5"), output: "run")
    let checkpoint = try bench.checkpoint("run")
    var state = checkpoint.state
    let huge = try bench.configuration(
      "model.hidden=65536", "model.decoderContext=4096", "model.encoderContext=4096")
    state.configuration = huge.yaml
    let path = "\(bench.folder.file("run"))/checkpoints/step-00000005/state.json"
    try Data(state.encoded()).write(to: URL(filePath: path))
    let error = #expect(throws: MilmError.self) {
      try bench.evaluation("run", text: .split(.valid)).evaluate()
    }
    #expect(
      error?.description.contains("of shape [4096, 65536], found") == true, "\(String(describing: error))")
  }
}
