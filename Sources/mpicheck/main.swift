import Communication
import Foundation

// Runs one scenario as a rank of an MPI job: `mpirun -n 3 mpicheck all-reduce`. Exit status 0: it holds.

let name = CommandLine.arguments.dropFirst().first ?? ""
guard let scenario = scenarios[name] else {
  FileHandle.standardError.write(
    Data("expected one of \(scenarios.keys.sorted().joined(separator: ", ")), found '\(name)'\n".utf8))
  exit(64)
}
onRanks { world in
  try scenario(Ranks(world: world, thread: CommunicationThread()))
  return 0
}
