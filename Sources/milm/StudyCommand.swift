import ArgumentParser
import Communication
import Foundation
import Reporting
import Studies
import Training

/// `milm study`: the paper's other experiments.
struct StudyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "study",
    abstract: "Runs one of the paper's other experiments, alone or under mpirun.",
    discussion: """
      Seeds and settings are distributed over the ranks; the results are bit-identical for any number of ranks. Finished \
      settings are kept in the output directory: after an interruption the same command resumes.

      Examples:
        milm study expressivity --output expressivity
        mpirun --bind-to none -n 2 milm study multitask --output multitask --seeds 12
        milm study neural-process --set steps=1000 --json
      """,
    subcommands: [ExpressivityCommand.self, MultitaskCommand.self, NeuralProcessCommand.self])

  /// Options of every study.
  struct Options: ParsableArguments {
    @Option(
      help: .init("The directory for results (default: study-NAME).", valueName: "DIR"),
      completion: .directory,
      transform: pathArgument)
    var output: String?

    @Option(help: .init("Seeds per setting.", valueName: "N"))
    var seeds: Int?

    @Option(
      name: .customLong("set"),
      help: .init("Set a key of the study's config.json: key=value. May be repeated.", valueName: "KEY=VALUE")
    )
    var settings: [String] = []

    @Flag(help: "Print the result as one line of JSON.")
    var json = false

    func validate() throws {
      if let seeds, seeds < 1 { throw ValidationError("--seeds: expected at least 1, found \(seeds)") }
    }

    /// Runs or resumes a study.
    func run<Work: Study>(_ type: Work.Type) throws {
      let configuration: Work.Configuration
      do {
        configuration = try Work.Configuration(settings: settings + (seeds.map { ["seeds=\($0)"] } ?? []))
      } catch {
        throw WrongUsage(description: "\(error)")
      }
      let study = Work(configuration)
      let stop = StopRequest()
      let terminal = try StopSignals.handle(stop)
      onRanks { world in
        let path = output ?? "study-\(Work.name)"
        let isFirst = world.control.rank == 0
        let progress =
          isFirst
          ? StageProgress(Work.name, total: study.settingCount, unit: "settings", output: terminal)
          : nil
        let end = try StudyRun(study, path: path, communicator: world.control).run {
          stop.isMade
        } progress: { done in
          progress?.update(done: done)
        }
        progress?.finish()
        switch end {
        case .interrupted(let settingCount):
          if isFirst {
            printMessage("interrupted after \(settingCount) settings; the same command resumes")
          }
          return interruptedStatus
        case .finished(let report, let processorSeconds, let seconds):
          guard isFirst else { return 0 }
          if json {
            try printResult(report.json)
          } else {
            try printResult(report.summary.markdown)
            try printTable([
              ("directory", path),
              ("time", Readable.duration(seconds: seconds)),
              ("processor time", Readable.duration(seconds: processorSeconds)),
            ])
          }
          return 0
        }
      }
    }
  }
}

extension StudyCommand {
  /// `milm study expressivity`: figure 2.
  struct ExpressivityCommand: ParsableCommand, AnswersSignals {
    static let configuration = CommandConfiguration(
      commandName: "expressivity",
      abstract: "Parameters needed to represent sums, products and bilinear forms.",
      discussion: """
        Example:
          mpirun --bind-to none -n 2 milm study expressivity --set budgetMinutes=40
        """)

    @OptionGroup var options: Options

    func run() throws { try options.run(ExpressivityStudy.self) }
  }

  /// `milm study multitask`: figure 3.
  struct MultitaskCommand: ParsableCommand, AnswersSignals {
    static let configuration = CommandConfiguration(
      commandName: "multitask",
      abstract: "Learning curves of one network on many regression tasks.",
      discussion: """
        Example:
          mpirun --bind-to none -n 2 milm study multitask --set taskCounts=[5,20,80]
        """)

    @OptionGroup var options: Options

    func run() throws { try options.run(MultitaskStudy.self) }
  }

  /// `milm study neural-process`: functions of Gaussian processes.
  struct NeuralProcessCommand: ParsableCommand, AnswersSignals {
    static let configuration = CommandConfiguration(
      commandName: "neural-process",
      abstract: "Held-out log-likelihood of neural processes with three decoders.",
      discussion: """
        Example:
          mpirun --bind-to none -n 2 milm study neural-process --seeds 5
        """)

    @OptionGroup var options: Options

    func run() throws { try options.run(NeuralProcessStudy.self) }
  }
}
