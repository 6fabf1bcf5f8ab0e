import Communication
import Testing

/// The command line that starts as many processes again.
struct LaunchTests {
  private let own = ["milm", "train", "a b.yaml", "--output", "run"]

  private func line(_ environment: [String: String], _ ancestors: [[String]] = []) -> String {
    Launch(arguments: own, environment: environment, ancestors: ancestors)
      .commandLine(["train", "a b.yaml", "--resume", "auto"])
  }

  @Test func aProcessAloneIsStartedAsItWas() {
    #expect(line([:]) == #"milm train a\ b.yaml --resume auto"#)
  }

  @Test func theLineOfMpirunIsKept() {
    let mpirun =
      ["/usr/bin/mpirun", "--host", "a:1,b:1", "-n", "2", "env", "X=1", "bin/milm"] + own.dropFirst()
    let environment = ["OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1"]
    #expect(
      line(environment, [["sh", "wrapper.sh"], mpirun])
        == #"/usr/bin/mpirun --host a:1\,b:1 -n 2 env X=1 bin/milm train a\ b.yaml --resume auto"#)
    #expect(Launch(arguments: own, environment: environment, ancestors: []).rank == 1)
    // The daemon of another host knows the number of ranks alone.
    #expect(line(environment, [["orted"]]) == #"mpirun -n 2 milm train a\ b.yaml --resume auto"#)
  }

  @Test func srunStartsAsManyTasks() {
    let environment = ["SLURM_STEP_NUM_TASKS": "6", "SLURM_NTASKS": "8", "PMIX_RANK": "3"]
    #expect(line(environment) == #"srun -n 6 --mpi=pmix milm train a\ b.yaml --resume auto"#)
    #expect(Launch(arguments: own, environment: environment, ancestors: []).rank == 3)
  }

  @Test func aScriptStatesItsOwnLine() {
    let environment = [Launch.variable: "cluster/launch.sh -n 2 --", "OMPI_COMM_WORLD_SIZE": "2"]
    #expect(line(environment) == #"cluster/launch.sh -n 2 -- train a\ b.yaml --resume auto"#)
  }
}
