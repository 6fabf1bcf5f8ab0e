import Testing
import Training

/// Another `training.steps` changes the schedule of a run that continues.
struct RateJumpTests {
  private func configuration(_ kind: String, steps: Int) throws -> RunConfiguration {
    try RunConfiguration(
      yaml: """
        training: { steps: \(steps) }
        optimizer: { learningRate: 1.0e-2 }
        schedule: { kind: \(kind), warmup: 10, final: 5.0e-4 }
        """, source: "test")
  }

  @Test func aFinishedCosineRunThatContinuesJumps() throws {
    let (earlier, new) = try (configuration("cosine", steps: 60), configuration("cosine", steps: 120))
    let text = try #require(RateJump(from: earlier, to: new, atStep: 60)).description
    #expect(text.hasPrefix("training.steps is 120, 60 before: the schedule cosine follows it"))
    #expect(text.contains("the learning rate of step 61 is 0.00593 in place of 0.0005 (× 11.9)"), "\(text)")
    #expect(text.contains("constant or plateau"))
    #expect(RateJump(from: earlier, to: new, atStep: 5) == nil, "warm-up does not depend on training.steps")
    #expect(RateJump(from: earlier, to: earlier, atStep: 30) == nil)
  }

  @Test(arguments: [("constant", false), ("plateau", false), ("inverse-sqrt", false), ("linear", true)])
  func onlySchedulesWithAnEndJump(kind: String, jumps: Bool) throws {
    let (earlier, new) = try (configuration(kind, steps: 60), configuration(kind, steps: 120))
    #expect((RateJump(from: earlier, to: new, atStep: 60) != nil) == jumps)
    #expect((RateJump(from: new, to: earlier, atStep: 30) != nil) == jumps)
  }
}
