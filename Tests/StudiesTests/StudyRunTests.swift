import Communication
import Foundation
import Platform
import Studies
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct StudyRunTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func run<Work: Study>(
    _ type: Work.Type, _ settings: [String], in name: String = "study", stopAfter: Int = .max
  ) throws -> StudyRun<Work>.End {
    let study = Work(try Work.Configuration(settings: settings))
    var rounds = 0
    return try StudyRun(
      study, path: folder.file(name), communicator: LocalCommunicator.world(rankCount: 1)[0]
    ).run {
      rounds += 1
      return rounds >= stopAfter
    }
  }

  @Test func anInterruptedStudyGivesTheSameResults() throws {
    let settings = smallSettings("multitask")
    guard case .interrupted(let count) = try run(MultitaskStudy.self, settings, stopAfter: 7) else {
      Issue.record("the study was not interrupted")
      return
    }
    #expect(count == 7)
    #expect(try folder.entries("study/settings").count == 7)
    // A corrupted outcome is computed again.
    let name = try folder.entries("study/settings")[3]
    try folder.write("{\"errors\":[0", to: "study/settings/\(name)")
    _ = try run(MultitaskStudy.self, settings)
    _ = try run(MultitaskStudy.self, settings, in: "whole")
    #expect(try studyFiles(folder.file("study")) == studyFiles(folder.file("whole")))
  }

  @Test func aFinishedStudyIsReportedWithoutTrainingAgain() throws {
    let settings = smallSettings("neural-process")
    _ = try run(NeuralProcessStudy.self, settings)
    // Any round would be told to stop.
    guard case .finished = try run(NeuralProcessStudy.self, settings, stopAfter: 1) else {
      Issue.record("the study was not finished")
      return
    }
  }

  @Test func aDirectoryOfADifferentConfigurationIsRefused() throws {
    let settings = smallSettings("multitask")
    _ = try run(MultitaskStudy.self, settings, stopAfter: 1)
    let error = try #require(throws: MilmError.self) { try run(MultitaskStudy.self, settings + ["seed=2"]) }
    #expect(error.description.contains("config.json: expected the configuration of this command"))
  }

  @Test(arguments: [
    ("nonsense=1", "expected key=value with a key of"), ("steps", "expected key=value"),
    ("steps=many", "expected Int for steps"),
    ("rates=[]", "expected at least one number of tasks and one rate"),
    ("taskCounts=[0]", "expected counts of at least 1, found 0"),
    ("evaluateEvery=9999", "expected evaluateEvery"),
  ])
  func invalidSettingsAreNamed(setting: String, expected: String) throws {
    let error = try #require(throws: MilmError.self) { try MultitaskConfiguration(settings: [setting]) }
    #expect(error.description.contains(expected), "\(error)")
  }

  @Test func theBudgetEndsAStudyBeforeTheNextDimension() throws {
    let settings = smallSettings("expressivity") + ["budgetMinutes=0.000001"]
    guard case .finished(let report, _, _) = try run(ExpressivityStudy.self, settings) else {
      Issue.record("the study was not finished")
      return
    }
    #expect(Set(report.summary.rows.map { $0[1] }) == ["1"])
    #expect(try folder.entries("study/settings").allSatisfy { $0.hasPrefix("d1-") })
  }
}
