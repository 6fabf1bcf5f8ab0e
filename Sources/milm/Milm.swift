import ArgumentParser
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
        mpirun -n 2 milm train configs/wikitext-2.yaml --corpus corpus --output run
        milm evaluate run --corpus corpus
      """,
    version: programVersion,
    subcommands: [
      PrepareCommand.self, TrainCommand.self, EvaluateCommand.self, GenerateCommand.self, InspectCommand.self,
    ])
}
