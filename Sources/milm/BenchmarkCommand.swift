import ArgumentParser

/// `milm benchmark`: what the parts of the program do on this machine.
struct BenchmarkCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "benchmark", abstract: "Measures parts of the program.",
    discussion: "Example: mpirun -n 2 milm benchmark exchange configs/wikitext-2.yaml",
    subcommands: [BenchmarkExchangeCommand.self])
}
