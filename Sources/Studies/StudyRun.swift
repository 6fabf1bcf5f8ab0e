import Communication
import Foundation
import Platform
import Tensors

/// Runs a study from its first setting, or from where it was interrupted, to its report.
///
/// The settings of a stage are assigned to the ranks round-robin, the longest first. Rank 0 alone reads and writes the
/// directory; after every round it saves the outcomes of all ranks, so that an interruption loses at most one round.
package struct StudyRun<Work: Study> {
  package enum End: Sendable {
    /// All settings are done; times are over all interruptions.
    case finished(StudyReport, processorSeconds: Double, seconds: Double)
    /// Stopped on request; the same command resumes.
    case interrupted(settingCount: Int)
  }

  private let study: Work
  private let path: String
  private let communicator: any Communicator

  /// A run with its files in the directory `path` on rank 0.
  package init(_ study: Work, path: String, communicator: any Communicator) {
    self.study = study
    self.path = path
    self.communicator = communicator
  }

  /// The message that rank 0 broadcasts at the start.
  private struct Start: Codable {
    var error: String?
    var outcomes: [String: Work.Outcome] = [:]
    var time = StudyDirectory.Time()
  }

  /// The work of a rank in a round.
  private struct Round: Codable {
    var name: String?
    var outcome: Work.Outcome?
    var processorSeconds = 0.0
    let isStopRequested: Bool
  }

  /// Trains the settings that have no outcome; collective.
  ///
  /// `progress` is called with the number of finished settings, `isStopRequested` after every round; a request on one rank
  /// stops all.
  package func run(
    isStopRequested: () -> Bool = { false }, progress: (Int) -> Void = { _ in }
  ) throws -> End {
    let (start, directory) = try begin()
    var outcomes = start.outcomes
    var time = start.time
    var lastWrite = ContinuousClock.now
    let engine = ComputeEngine(library: .openBLAS)
    progress(outcomes.count)
    while true {
      let stage = study.nextSettings(after: outcomes, processorSeconds: time.processorSeconds)
        .filter { outcomes[$0.name] == nil }
        .sorted { ($1.cost, $0.name) < ($0.cost, $1.name) }
      if stage.isEmpty { break }
      for first in stride(from: 0, to: stage.count, by: communicator.rankCount) {
        let place = first + communicator.rank
        let setting = place < stage.count ? stage[place] : nil
        let rounds = try exchange(round(setting, isStopRequested: isStopRequested, engine: engine))
        for round in rounds {
          guard let name = round.name, let outcome = round.outcome else { continue }
          outcomes[name] = outcome
          time.processorSeconds += round.processorSeconds
          try directory?.save(outcome, of: name)
        }
        let now = ContinuousClock.now
        time.seconds += (now - lastWrite).inSeconds
        lastWrite = now
        try directory?.save(time)
        progress(outcomes.count)
        if rounds.contains(where: \.isStopRequested) { return .interrupted(settingCount: outcomes.count) }
      }
    }
    let report = try study.report(on: outcomes)
    for file in report.files { try directory?.write(Data(file.text.utf8), to: file.name) }
    return .finished(report, processorSeconds: time.processorSeconds, seconds: time.seconds)
  }

  /// Reads the directory on rank 0 and broadcasts its content, or why it cannot be used.
  private func begin() throws -> (Start, StudyDirectory?) {
    var start = Start()
    var directory: StudyDirectory?
    if communicator.rank == 0 {
      do {
        let opened = try StudyDirectory(path: path, configuration: study.configuration.encoded())
        start.outcomes = try opened.outcomes()
        start.time = opened.time()
        directory = opened
      } catch {
        start.error = "\(error)"
      }
    }
    let encoded = Array(try studyEncoder().encode(start))
    let bytes = try communicator.broadcast("start of a study", encoded, from: 0)
    start = try studyDecoder().decode(Start.self, from: Data(bytes))
    if let error = start.error { throw MilmError(error) }
    return (start, directory)
  }

  private func round(
    _ setting: Work.Setting?, isStopRequested: () -> Bool, engine: ComputeEngine
  ) -> Round {
    guard let setting else { return Round(isStopRequested: isStopRequested()) }
    let start = coreSeconds
    let outcome = study.run(setting, engine: engine)
    return Round(
      name: setting.name, outcome: outcome, processorSeconds: coreSeconds - start,
      isStopRequested: isStopRequested())
  }

  private func exchange(_ round: Round) throws -> [Round] {
    try communicator.allGather("round of a study", Array(try studyEncoder().encode(round))).map {
      try studyDecoder().decode(Round.self, from: Data($0))
    }
  }
}
