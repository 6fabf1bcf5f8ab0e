import Foundation
import Logging
import Platform
import Reporting
import Training

/// Works through the runs of a sweep, some at a time.
struct Sweep {
  struct Failure: Encodable {
    let run: String
    let status: Int32
    let reason: String
    let log: String
  }

  struct Outcome {
    /// The names of the runs, in their order.
    var finished: [String] = []
    var failures: [Failure] = []
    var isInterrupted = false
  }

  private static let secondsBetweenPolls = 0.1

  private var jobs: [SweepJob]
  private let parallelCount: Int
  private let stop: StopRequest
  private let logger: Logger
  private let progress: StageProgress
  private var outcomes: [SweepJob.Outcome?]

  init(
    _ jobs: [SweepJob], parallelCount: Int, stop: StopRequest, logger: Logger, output: TerminalOutput
  ) {
    self.jobs = jobs
    self.parallelCount = parallelCount
    self.stop = stop
    self.logger = logger
    outcomes = jobs.map { _ in nil }
    progress = StageProgress(
      "sweep", total: jobs.reduce(0) { $0 + $1.stepCount }, unit: "steps", output: output)
  }

  /// Starts runs until all have ended or a stop is requested; then waits for those that are running.
  mutating func run() -> Outcome {
    var next = 0
    var isStopping = false
    while true {
      if stop.isMade, !isStopping {
        isStopping = true
        logger.info("stopping the runs, with checkpoints")
        for job in jobs { job.stop() }
      }
      while !isStopping, next < jobs.count, jobs.count(where: \.isRunning) < parallelCount {
        start(next)
        next += 1
      }
      for index in jobs.indices where jobs[index].isRunning {
        do {
          if let outcome = try jobs[index].poll(isStopping: isStopping) { end(index, outcome) }
        } catch {
          end(index, .failed(status: 1, reason: "\(error)"))
        }
      }
      progress.update(done: jobs.reduce(0) { $0 + $1.doneCount })
      guard jobs.contains(where: \.isRunning) || (!isStopping && next < jobs.count) else { break }
      Thread.sleep(forTimeInterval: Self.secondsBetweenPolls)
    }
    progress.finish()
    return outcome
  }

  private mutating func start(_ index: Int) {
    do {
      if let outcome = try jobs[index].start() { return end(index, outcome) }
      logger.info("run \(index + 1) of \(jobs.count) begins", metadata: ["run": "\(jobs[index].name)"])
    } catch {
      end(index, .failed(status: 1, reason: "\(error)"))
    }
  }

  private mutating func end(_ index: Int, _ outcome: SweepJob.Outcome) {
    outcomes[index] = outcome
    let name: Logger.Metadata = ["run": "\(jobs[index].name)"]
    let number = "run \(index + 1) of \(jobs.count)"
    switch outcome {
    case .finished(wasFinished: true): logger.info("\(number) was finished before", metadata: name)
    case .finished(wasFinished: false): logger.info("\(number) is finished", metadata: name)
    case .interrupted: logger.warning("\(number) was interrupted", metadata: name)
    case .failed(let status, let reason):
      logger.error(
        "\(number) has failed; the sweep continues",
        metadata: name.merging(["status": "\(status)", "reason": "\(reason)"]) { $1 })
    }
  }

  private var outcome: Outcome {
    var all = Outcome()
    for (job, outcome) in zip(jobs, outcomes) {
      switch outcome {
      case .finished: all.finished.append(job.name)
      case .failed(let status, let reason):
        all.failures.append(Failure(run: job.name, status: status, reason: reason, log: job.logPath))
      case .interrupted, nil: all.isInterrupted = true
      }
    }
    return all
  }
}
