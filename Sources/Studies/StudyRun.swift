import Communication
import Foundation
import Platform
import Tensors

/// One study from its first setting, or from where it was interrupted, to its report.
///
/// The settings of a stage go to the ranks by turns, the longest first. Rank 0 alone reads and writes the folder; after every
/// turn it keeps what all ranks have finished, so that an interruption costs one turn at the most.
public struct StudyRun<Work: Study> {
  /// How a run ends.
  public enum End: Sendable {
    /// With all settings done; what it took, over all interruptions.
    case finished(StudyReport, processorSeconds: Double, seconds: Double)
    /// Early, by a wish; the same command goes on.
    case interrupted(settingCount: Int)
  }

  private let study: Work
  private let path: String
  private let communicator: any Communicator

  /// A run whose files are in the folder `path` of rank 0.
  public init(_ study: Work, path: String, communicator: any Communicator) {
    self.study = study
    self.path = path
    self.communicator = communicator
  }

  /// What the ranks begin with.
  private struct Start: Codable {
    var error: String?
    var outcomes: [String: Work.Outcome] = [:]
    var time = StudyFolder.Time()
  }

  /// What a rank did in a turn.
  private struct Turn: Codable {
    var name: String?
    var outcome: Work.Outcome?
    var processorSeconds = 0.0
    let wantsToStop: Bool
  }

  /// Trains what is not done yet; all ranks call it.
  ///
  /// `progress` is called with the number of finished settings, `wantsToStop` after every turn; where one rank wants
  /// to stop, all do.
  public func run(
    wantsToStop: () -> Bool = { false }, progress: (Int) -> Void = { _ in }
  ) throws -> End {
    let (start, folder) = try begin()
    var outcomes = start.outcomes
    var time = start.time
    var lastWrite = ContinuousClock.now
    let engine = ComputeEngine(threadCount: 1, library: .openBLAS)
    progress(outcomes.count)
    while true {
      let stage = study.nextSettings(after: outcomes, processorSeconds: time.processorSeconds)
        .filter { outcomes[$0.name] == nil }
        .sorted { ($1.cost, $0.name) < ($0.cost, $1.name) }
      if stage.isEmpty { break }
      for first in stride(from: 0, to: stage.count, by: communicator.rankCount) {
        let place = first + communicator.rank
        let setting = place < stage.count ? stage[place] : nil
        let turns = try exchange(turn(setting, wantsToStop: wantsToStop, engine: engine))
        for turn in turns {
          guard let name = turn.name, let outcome = turn.outcome else { continue }
          outcomes[name] = outcome
          time.processorSeconds += turn.processorSeconds
          try folder?.keep(outcome, of: name)
        }
        let now = ContinuousClock.now
        time.seconds += (now - lastWrite) / .seconds(1)
        lastWrite = now
        try folder?.keep(time)
        progress(outcomes.count)
        if turns.contains(where: \.wantsToStop) { return .interrupted(settingCount: outcomes.count) }
      }
    }
    let report = try study.report(on: outcomes)
    for file in report.files { try folder?.write(Data(file.text.utf8), to: file.name) }
    return .finished(report, processorSeconds: time.processorSeconds, seconds: time.seconds)
  }

  /// Reads the folder on rank 0 and tells all ranks what is there, or why it cannot be used.
  private func begin() throws -> (Start, StudyFolder?) {
    var start = Start()
    var folder: StudyFolder?
    if communicator.rank == 0 {
      do {
        let opened = try StudyFolder(path: path, configuration: study.configuration.encoded())
        start.outcomes = try opened.outcomes()
        start.time = opened.time()
        folder = opened
      } catch {
        start.error = "\(error)"
      }
    }
    let letter = Array(try studyEncoder().encode(start))
    let shared = try communicator.broadcast("start of a study", letter, from: 0)
    start = try studyDecoder().decode(Start.self, from: Data(shared))
    if let error = start.error { throw MilmError(error) }
    return (start, folder)
  }

  private func turn(
    _ setting: Work.Setting?, wantsToStop: () -> Bool, engine: ComputeEngine
  ) -> Turn {
    guard let setting else { return Turn(wantsToStop: wantsToStop()) }
    let start = threadSeconds()
    let outcome = study.run(setting, engine: engine)
    return Turn(
      name: setting.name, outcome: outcome, processorSeconds: threadSeconds() - start,
      wantsToStop: wantsToStop())
  }

  private func exchange(_ turn: Turn) throws -> [Turn] {
    try communicator.allGather("turn of a study", Array(try studyEncoder().encode(turn))).map {
      try studyDecoder().decode(Turn.self, from: Data($0))
    }
  }
}

/// The processor time that the calling thread has used, in seconds.
private func threadSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
