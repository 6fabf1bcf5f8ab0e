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
  }

  /// The daemon of another host knows the number of ranks alone.
  @Test(arguments: [
    (["OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "0"], "mpirun --host", "orted"),
    (["PMI_SIZE": "3", "PMI_RANK": "0"], "mpiexec -hosts", "hydra_pmi_proxy"),
  ])
  func theLauncherOfAnotherHostGetsItsHosts(environment: [String: String], start: String, daemon: String) {
    let launch = Launch(arguments: own, environment: environment, ancestors: [[daemon], ["sshd"]])
    #expect(
      launch.commandLine(["train", "a b.yaml"], hostNames: ["node2", "node1", "node2"])
        == start + #" node2:2\,node1:1 -n 3 milm train a\ b.yaml"#)
  }

  @Test func aNumberOfRanksThatTheSlotsGaveIsStated() {
    let mpirun = ["mpirun", "--hostfile", "hosts", "milm"] + own.dropFirst()
    #expect(
      line(["OMPI_COMM_WORLD_SIZE": "8"], [mpirun])
        == #"mpirun -n 8 --hostfile hosts milm train a\ b.yaml --resume auto"#)
  }

  @Test func srunStartsAsManyTasks() {
    let environment = [
      "SLURM_STEP_NUM_TASKS": "6", "SLURM_NTASKS": "8", "PMIX_RANK": "3", "SLURM_STEP_NUM_NODES": "3",
      "SLURM_CPUS_PER_TASK": "16",
    ]
    #expect(
      line(environment)
        == #"srun -n 6 --nodes=3 --cpus-per-task=16 --mpi=pmix milm train a\ b.yaml --resume auto"#)
    #expect(Launch(arguments: own, environment: environment, ancestors: []).rank == 3)
  }

  @Test func aScriptStatesItsOwnLine() {
    let environment = [Launch.variable: "cluster/launch.sh -n 2 --", "OMPI_COMM_WORLD_SIZE": "2"]
    #expect(line(environment) == #"cluster/launch.sh -n 2 -- train a\ b.yaml --resume auto"#)
  }
}
