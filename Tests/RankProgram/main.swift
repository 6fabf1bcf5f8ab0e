import Communication
import Foundation
import Platform

// Runs one scenario as a rank of an MPI job: `mpirun -n 3 RankProgram all-reduce`. Exit status 0: it holds.
// A number after the name says how many ranks are taken for one node, whatever the host; it is 1 if left out.

StandardStream.prepare()
let name = CommandLine.arguments.dropFirst().first ?? ""
guard let scenario = scenarios[name] else {
  StandardStream.error.note(
    "expected one of \(scenarios.keys.sorted().joined(separator: ", ")), found '\(name)'")
  exit(64)
}
onRanks(fault: corruption.fault) { world in
  let ranksPerNode = CommandLine.arguments.dropFirst(2).first.flatMap { Int($0) } ?? 1
  try scenario(Ranks(world: world, thread: try CommunicationThread(), ranksPerNode: ranksPerNode))
  return 0
}
