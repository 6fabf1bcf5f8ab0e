import Communication
import Foundation

// Runs one scenario as a rank of an MPI job: `mpirun -n 3 RankProgram all-reduce`. Exit status 0: it holds.
// A number after the name says how many ranks are taken for one node, whatever the host; it is 1 if left out.

let name = CommandLine.arguments.dropFirst().first ?? ""
guard let scenario = scenarios[name] else {
  FileHandle.standardError.write(
    Data("expected one of \(scenarios.keys.sorted().joined(separator: ", ")), found '\(name)'\n".utf8))
  exit(64)
}
onRanks(fault: corruption.fault) { world in
  let ranksPerNode = CommandLine.arguments.dropFirst(2).first.flatMap { Int($0) } ?? 1
  try scenario(Ranks(world: world, thread: CommunicationThread(), ranksPerNode: ranksPerNode))
  return 0
}
