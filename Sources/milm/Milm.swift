import ArgumentParser
import Foundation
import Training

/// The program: one command a job.
@main
struct Milm: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "milm",
    abstract: "Trains multiplicative-interaction language models on CPU clusters.",
    discussion: """
      Example, from text to perplexity:
        milm prepare --train wiki.train.tokens --valid wiki.valid.tokens --test wiki.test.tokens \
      --output corpus
        mpirun --bind-to none -n 2 milm train configs/wikitext-2.yaml --corpus corpus --output run
        milm evaluate run --corpus corpus
      """,
    version: programVersion,
    subcommands: [
      PrepareCommand.self, TrainCommand.self, EvaluateCommand.self, GenerateCommand.self, InspectCommand.self,
      BenchmarkCommand.self, StudyCommand.self,
    ])

  /// Runs a command; what is wrong with the command line is the same on all ranks of a job, and rank 0 alone says it.
  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      let environment = ProcessInfo.processInfo.environment
      let rank = environment["OMPI_COMM_WORLD_RANK"] ?? environment["PMIX_RANK"] ?? "0"
      if rank != "0" { Foundation.exit(exitCode(for: error).rawValue) }
      exit(withError: error)
    }
  }
}
