import Communication
import Foundation
import Studies
import TestSupport
import Testing

/// The results of the studies, read from their reports.
@Suite(.timeLimit(.minutes(5))) struct StudyResultsTests {
  private func results<Work: Study>(_ type: Work.Type, _ settings: [String]) throws -> [[String: Any]] {
    let folder = try TemporaryFolder()
    let study = Work(try Work.Configuration(settings: settings))
    let run = StudyRun(study, path: folder.path, communicator: LocalCommunicator.world(rankCount: 1)[0])
    guard case .finished(let report, _, _) = try run.run() else { return [] }
    let object = try JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: Any]
    return try #require(object?["results"] as? [[String: Any]])
  }

  private func mean(_ result: [String: Any], _ key: String) -> Double? {
    (result[key] as? [String: Any])?["mean"] as? Double
  }

  /// Theorem 1 in numbers.
  @Test func oneInteractionRepresentsAProductAndANetworkOfItsSizeDoesNot() throws {
    let results = try results(ExpressivityStudy.self, smallSettings("expressivity"))
    for target in ["sum", "product", "dot", "bilinear"] {
      for dimension in [1, 2] {
        func error(_ model: String) -> Double? {
          results.first {
            $0["target"] as? String == target && $0["dimension"] as? Int == dimension
              && $0["model"] as? String == model
          }.flatMap { mean($0, "error") }
        }
        #expect(try #require(error("exact")) < 1e-10, "\(target) in \(dimension) dimensions")
        if target != "sum" { #expect(try #require(error("equalSize")) > 0.1) }
      }
    }
  }

  @Test func aTrainedInteractionLearnsADotProductAndUnneededWeightsVanish() throws {
    let results = try results(
      ExpressivityStudy.self,
      ["dimensions=[3]", "seeds=1", "maximumWidth=1", "examples=8192", "testExamples=512", "steps=2000"])
    let result = try #require(
      results.first { $0["target"] as? String == "dot" && $0["model"] as? String == "interaction" })
    #expect(mean(result, "parameters") == 16)
    #expect(try #require(mean(result, "keptParameters")) == 3)
    #expect(try #require(mean(result, "errorAfterDropping")) < 1e-4)
    let narrow = results.filter { $0["model"] as? String == "relu" && $0["target"] as? String != "sum" }
    #expect(narrow.count == 3 && narrow.allSatisfy { mean($0, "parameters") == nil })
  }

  @Test func theModelsOfTheMultitaskStudyHaveTheSizesStated() throws {
    let results = try results(MultitaskStudy.self, smallSettings("multitask") + ["taskCounts=[3,7]"])
    #expect(results.count == 12)
    for result in results {
      let tasks = try #require(result["tasks"] as? Int)
      let expected = [
        "conditional": 20 * tasks + 1321, "interaction": 20 * tasks + 1141, "heads": 31 * tasks + 670,
      ]
      #expect(result["parameters"] as? Int == expected[try #require(result["model"] as? String)])
      let curve = try #require(result["curve"] as? [[String: Any]])
      #expect(curve.count == 3 && curve.allSatisfy { $0["standardError"] as? Double ?? 0 > 0 })
    }
  }

  @Test(arguments: ["interaction", "conditional", "heads"])
  func everyModelLearnsAffineTasks(model: String) throws {
    let results = try results(
      MultitaskStudy.self,
      ["taskCounts=[2]", "steps=1500", "evaluateEvery=1500", "tuningSeeds=1", "rates=[0.01]", "seeds=1"])
    let result = try #require(
      results.first { $0["model"] as? String == model && $0["family"] as? String == "affine" })
    #expect(try #require(mean(result, "finalError")) < 3e-3)
  }

  @Test func everyDecoderOfANeuralProcessLearnsAtEqualSize() throws {
    let results = try results(
      NeuralProcessStudy.self,
      ["steps=300", "evaluateEvery=300", "functions=8", "testFunctions=16", "samples=4", "seeds=1"])
    let sizes = results.compactMap { $0["parameters"] as? Int }
    #expect(sizes.count == 3 && sizes.max() == 5442)
    #expect(sizes.allSatisfy { $0 > 5300 })
    for result in results {
      let curve = try #require(result["curve"] as? [[String: Any]]).compactMap { $0["mean"] as? Double }
      #expect(curve.count == 2 && curve[1] > curve[0] + 0.3, "\(result["decoder"] ?? "")")
    }
  }
}
