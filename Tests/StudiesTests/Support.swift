import Foundation
import Studies
import TestSupport
import Testing

/// Settings with which a study takes about a second.
func smallSettings(_ study: String) -> [String] {
  switch study {
  case "expressivity":
    [
      "dimensions=[1,2]", "steps=300", "batch=128", "examples=2048", "testExamples=512", "maximumWidth=8",
      "seeds=1",
    ]
  case "multitask":
    ["taskCounts=[3]", "steps=20", "evaluateEvery=10", "tuningSeeds=1", "rates=[0.003,0.01]", "seeds=2"]
  default:
    ["steps=6", "evaluateEvery=3", "functions=4", "testFunctions=8", "samples=2", "seeds=1"]
  }
}

/// The command line of a study with small settings.
func studyCommand(_ study: String, output: String, _ more: [String] = []) -> [String] {
  [program("milm"), "study", study, "--output", output]
    + (smallSettings(study) + more).flatMap { ["--set", $0] }
}

/// All files of a study's directory except `time.json`, by name.
func studyFiles(_ folder: String) throws -> [String: Data] {
  let names = try FileManager.default.subpathsOfDirectory(atPath: folder)
  var files: [String: Data] = [:]
  for name in names where name.contains(".") && name != "time.json" {
    files[name] = try #require(FileManager.default.contents(atPath: "\(folder)/\(name)"))
  }
  return files
}
