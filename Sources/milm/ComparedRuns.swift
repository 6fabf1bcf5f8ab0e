import ArgumentParser
import Checkpoints
import Foundation
import Platform
import Reporting
import Training

/// The runs of a command that compares them.
struct ComparedRunPaths: ParsableArguments {
  @Argument(
    help: .init("Runs; the directory of a sweep stands for its runs.", valueName: "RUN"), completion: .runs,
    transform: pathArgument)
  var paths: [String]
}

extension Comparison {
  /// The comparison of runs; the directory of a sweep stands for those of its runs that have begun.
  init(ofRunsAt paths: [String]) throws {
    let runs = try paths.flatMap { path -> [String] in
      guard let sweep = try SweepRecord(readingFrom: path) else { return [path] }
      let begun = sweep.runs.map { "\(path)/\($0.name)" }.filter {
        FileManager.default.fileExists(atPath: RunDirectory(path: $0).metricsPath)
      }
      guard !begun.isEmpty else {
        throw MilmError("\(path): expected a sweep with runs, found none that has begun")
      }
      return begun
    }
    var places: Set<String> = []
    for run in runs where !places.insert(URL(filePath: run).resolvingSymlinksInPath().path).inserted {
      throw MilmError("\(run): expected different runs, found this one twice")
    }
    let names = runs.map { URL(filePath: $0).standardizedFileURL.lastPathComponent }
    self.init(
      try zip(runs, names).map { run, name in
        try ComparedRun(run, name: names.count { $0 == name } == 1 ? name : run)
      })
  }
}

extension ComparedRun {
  /// The run at a path, called `name`.
  init(_ path: String, name: String) throws {
    let run = RunDirectory(path: path)
    try run.requireMetrics()
    guard case .file = try FileEntry(at: run.configurationPath, followingLinks: true) else {
      throw MilmError("\(path): expected a run with config.yaml, found none")
    }
    let configuration = try RunConfiguration(contentsOf: run.configurationPath)
    let vocabulary = try readIfPresent(run.vocabularyPath).map { SHA256Digest.hexadecimal(of: $0) }
    try self.init(
      name: name, path: path, variant: configuration.model.variant.rawValue,
      seed: "\(configuration.training.seed)",
      settings: ConfigurationKey.all.filter { $0.mayChangeResult && !$0.isSeed }.map {
        Setting(key: $0.path, value: $0.show(configuration))
      }, vocabulary: vocabulary ?? "", files: run.files)
  }
}

extension RunDirectory {
  /// Throws where there is no record of training.
  func requireMetrics() throws {
    if case .absent = try FileEntry(at: metricsPath, followingLinks: true) {
      throw MilmError(
        "\(path): expected a run with metrics.jsonl, found none; milm train makes a run, on a corpus that milm prepare builds"
      )
    }
  }
}
