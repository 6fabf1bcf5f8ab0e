import Foundation
import Reporting
import Testing

struct TrainingProgressTests {
  let recorder = Recorder()
  let time = ManualTime()

  private func progress(isTerminal: Bool, width: Int = 200, firstStep: Int = 0) -> TrainingProgress {
    TrainingProgress(
      stepCount: 400, firstStep: firstStep, output: recorder.output(isTerminal: isTerminal, width: width),
      clock: time.clock)
  }

  @Test func writesOneLinePerReportToAPipe() {
    let progress = progress(isTerminal: false)
    time.advance(seconds: 50)
    progress.update(metrics(step: 100))
    progress.update(metrics(step: 101))
    progress.finish()
    #expect(recorder.written.count == 2)
    let expected =
      "step=100 steps=400 epoch=0.25 loss=4.5 perplexity=90.0171313 learningRate=0.001 gradientNorm=0.125 "
      + "tokensPerSecond=12345 exposedSeconds=0.062 codec=int8 ratio=4.00 savedBytes=3000 skippedSteps=1 secondsLeft=150\n"
    #expect(recorder.written.first == expected)
  }

  @Test func redrawsOneLineOnATerminal() {
    let progress = progress(isTerminal: true)
    time.advance(seconds: 50)
    progress.update(metrics(step: 100))
    time.advance(seconds: 150)
    progress.update(metrics(step: 400))
    progress.finish()
    progress.finish()
    let expected =
      "\r[#####---------------]  25 %  step 100/400  loss 4.5000  perplexity 90.02  12.3k tokens/s  "
      + "2 min 30 s left  3.00 kB saved (÷ 4.0)\u{1B}[K"
    #expect(recorder.written.first == expected)
    #expect(recorder.written.dropFirst().first?.contains("[####################]  100 %") == true)
    #expect(recorder.written.last == "\n")
    #expect(recorder.written.count == 3)
  }

  @Test(arguments: [1, 2, 5, 20, 40, 80, 120]) func neverFillsTheLineOfTheTerminal(width: Int) {
    progress(isTerminal: true, width: width).update(metrics(step: 100))
    let line = recorder.written.joined().dropFirst().dropLast("\u{1B}[K".count)
    #expect(!line.isEmpty && line.count <= max(width - 1, 1))
  }

  @Test(
    arguments: [
      (100, "25 %  step 100/400  loss 4.5000  perplexity 90.02  12.3k tokens/s  2 min 30 s left"),
      (60, "25 %  perplexity 90.02  12.3k tokens/s  2 min 30 s left"),
      (30, "25 %  2 min 30 s left"),
    ])
  func omitsTheLeastImportantPartsOnANarrowTerminal(width: Int, expected: String) {
    let progress = progress(isTerminal: true, width: width)
    time.advance(seconds: 50)
    progress.update(metrics(step: 100))
    #expect(recorder.written == ["\r\(expected)\u{1B}[K"])
  }

  @Test(arguments: [true, false]) func sumsTheBytesSavedByCompression(isTerminal: Bool) {
    let progress = progress(isTerminal: isTerminal)
    for step in 1...4 {
      progress.update(metrics(step: step))
      time.advance(seconds: 0.05)
    }
    time.advance(seconds: 1)
    progress.update(metrics(step: 5))
    // Reports that are not drawn count too.
    #expect(recorder.written.last?.contains(isTerminal ? "15.0 kB saved" : "savedBytes=15000") == true)
  }

  @Test func limitsTheRateOfDrawingExceptAtTheEnd() {
    let progress = progress(isTerminal: true)
    for step in 1...399 {
      time.advance(seconds: 0.001)
      progress.update(metrics(step: step))
    }
    #expect(recorder.written.count == 4)
    progress.update(metrics(step: 400))
    #expect(recorder.written.count == 5)
  }

  @Test func estimatesFromTheStepsOfThisProcess() {
    let progress = progress(isTerminal: false, firstStep: 300)
    progress.update(metrics(step: 300))
    time.advance(seconds: 10)
    progress.update(metrics(step: 350))
    #expect(recorder.written.first?.contains("secondsLeft") == false)
    #expect(recorder.written.last?.hasSuffix("secondsLeft=10\n") == true)
  }

  @Test func theEndIncludesTheLastEvaluationAndCheckpoint() {
    let progress = progress(isTerminal: false)
    time.advance(seconds: 50)
    progress.update(metrics(step: 200), closingSeconds: 60)
    progress.update(metrics(step: 400), closingSeconds: 60)
    progress.update(metrics(step: 400))
    #expect(
      recorder.written[0].hasSuffix("secondsLeft=110\n") && recorder.written[1].hasSuffix("secondsLeft=60\n"))
    #expect(!recorder.written[2].contains("secondsLeft"), "nothing is known of what remains")
  }

  /// Steps of 1 s, and evaluations of every 100 steps that slow the next 20 steps down to 2 s.
  @Test func theTimeLeftCountsTheEvaluationsToCome() {
    let progress = TrainingProgress(
      stepCount: 1000, evaluateEvery: 100, output: recorder.output(isTerminal: false), clock: time.clock)
    func update(_ steps: ClosedRange<Int>, secondsPerStep: Double, isEvaluating: Bool = false) -> String? {
      time.advance(seconds: secondsPerStep * Double(steps.count))
      var line = metrics(step: steps.upperBound)
      line["evaluationSeconds"] = .number(isEvaluating ? 20 : 0)
      progress.update(line, evaluationSeconds: 30)
      return recorder.written.last?.split(separator: " ").last.map { $0.trimmingCharacters(in: .newlines) }
    }
    // 950 steps, and nine evaluations before the last step that are expected to take 30 s each.
    #expect(update(1...50, secondsPerStep: 1) == "secondsLeft=1220")
    #expect(update(51...100, secondsPerStep: 1) == "secondsLeft=1170")
    // The first evaluation is not over.
    #expect(update(101...110, secondsPerStep: 2, isEvaluating: true) == "secondsLeft=1130")
    _ = update(111...120, secondsPerStep: 2, isEvaluating: true)
    // What it took: 20 s. Eight remain.
    #expect(update(121...150, secondsPerStep: 1) == "secondsLeft=1010")
    #expect(update(151...1000, secondsPerStep: 1)?.hasPrefix("skippedSteps") == true)
  }

  @Test func linesAppearAboveTheRedrawnOne() {
    let output = recorder.output(isTerminal: true, width: 30)
    let progress = TrainingProgress(stepCount: 400, output: output, clock: time.clock)
    makeLogger(output: output).info("before")
    time.advance(seconds: 50)
    progress.update(metrics(step: 100))
    makeLogger(output: output).info("between")
    progress.finish()
    makeLogger(output: output).info("after")
    let lines = recorder.written
    #expect(lines.count == 5 && lines[0].hasSuffix("info: before\n") && lines[3] == "\n")
    #expect(lines[2].hasPrefix("\r\u{1B}[K") && lines[2].hasSuffix("info: between\n25 %  2 min 30 s left"))
    #expect(lines[4].hasSuffix("info: after\n"))
  }

  @Test(arguments: [true, false]) func showsNumbersThatAreNotFinite(isTerminal: Bool) {
    var broken = metrics(step: 0, loss: .nan)
    broken["tokensPerSecond"] = .number(.infinity)
    broken["wireBytes"] = .integer(0)
    progress(isTerminal: isTerminal).update(broken)
    #expect(recorder.written.joined().contains("nan"))
    #expect(!recorder.written.joined().contains("÷"))
    #expect(!recorder.written.joined().contains("ratio"))
  }
}

struct StageProgressTests {
  let recorder = Recorder()
  let time = ManualTime()

  private func stage(isTerminal: Bool) -> StageProgress {
    StageProgress(
      "count words", total: 10_000, unit: "lines", output: recorder.output(isTerminal: isTerminal),
      clock: time.clock)
  }

  @Test func writesALineEveryFiveSecondsToAPipe() {
    let stage = stage(isTerminal: false)
    for _ in 1...12 {
      time.advance(seconds: 1)
      stage.advance(by: 500)
    }
    stage.finish()
    stage.finish()
    let expected = [
      "stage=\"count words\" lines=2500 of=10000 perSecond=500\n",
      "stage=\"count words\" lines=5000 of=10000 perSecond=500\n",
      "stage=\"count words\" lines=6000 seconds=12.000\n",
    ]
    #expect(recorder.written == expected)
  }

  @Test func drawsABarOnATerminal() {
    let stage = stage(isTerminal: true)
    time.advance(seconds: 0.05)
    stage.update(done: 10)
    time.advance(seconds: 0.95)
    stage.update(done: 5000)
    stage.finish()
    let expected = [
      "\rcount words: [##########----------] 50 %  5.00k/10.0k lines  5.00k lines/s  1.0 s left\u{1B}[K",
      "\r\u{1B}[Kcount words: 5.00k lines in 1.0 s\n",
    ]
    #expect(recorder.written == expected)
  }

  @Test func aStageOfNoUnitsHasASummary() {
    let stage = StageProgress(
      "empty", total: 0, unit: "bytes", output: recorder.output(isTerminal: true), clock: time.clock)
    time.advance(seconds: 1)
    stage.update(done: 0)
    stage.update(done: 7)
    stage.finish()
    #expect(recorder.written.last == "\r\u{1B}[Kempty: 7 bytes in 1.0 s\n")
  }
}
