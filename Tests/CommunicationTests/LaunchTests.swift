import Communication
import Platform
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

  /// Variables found in ranks of MPICH 4.0.2.
  @Test func theLineOfHydraIsKept() {
    let mpirun = ["mpirun.mpich", "-hosts", "a,b", "-n", "2", "bin/milm"] + own.dropFirst()
    let environment = ["PMI_SIZE": "2", "PMI_RANK": "1", "HYDI_CONTROL_FD": "7", "SLURM_NTASKS": "2"]
    #expect(
      line(environment, [["hydra_pmi_proxy", "--control-port", "a:1"], mpirun])
        == #"mpirun.mpich -hosts a\,b -n 2 bin/milm train a\ b.yaml --resume auto"#)
    #expect(Launch(arguments: own, environment: environment, ancestors: []).rank == 1)
    let slurm = ["PMI_SIZE": "2", "PMI_RANK": "1", "SLURM_NTASKS": "2"]
    #expect(line(slurm) == #"srun -n 2 --mpi=pmi2 milm train a\ b.yaml --resume auto"#)
  }

  /// Texts of `MPI_Get_library_version`.
  @Test(arguments: [
    ("Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4", "Open MPI v4.1.4"),
    (
      "MPICH Version:\t4.0.2\nMPICH Release date:\tThu Apr  7\nMPICH ABI:\t14:2:2\nMPICH Device:\tch4:ucx\n",
      "MPICH 4.0.2, ch4:ucx"
    ),
    ("Intel(R) MPI Library 2021.11 for Linux* OS\n", "Intel(R) MPI Library 2021.11 for Linux* OS"),
  ])
  func theLibraryIsNamedInOneLine(text: String, name: String) {
    #expect(MPILibrary.name(in: text) == name)
  }

  @Test func aScriptStatesItsOwnLine() {
    let environment = [Launch.variable: "cluster/launch.sh -n 2 --", "OMPI_COMM_WORLD_SIZE": "2"]
    #expect(line(environment) == #"cluster/launch.sh -n 2 -- train a\ b.yaml --resume auto"#)
  }

  @Test(arguments: [
    ("mpirun -n 2 milm", false), ("mpirun --tag-output -n 2 milm", true),
    ("mpirun -timestamp-output milm", true), ("mpirun --output-filename logs -n 2 milm", true),
    ("mpirun --oversubscribe --bind-to none -n 2 output", false),
  ])
  func aLauncherThatDecoratesLinesHasNoTerminal(line: String, expected: Bool) {
    #expect(Launch.decoratesLines(line.split(separator: " ").map(String.init)) == expected)
  }

  @Test func aScriptNamesItsTerminal() {
    #expect(RelayedTerminal("here /dev/nothing 70", host: "here")?.width == 70)
    #expect(RelayedTerminal("there /dev/pts/0 70", host: "here")?.width == 70, "not that of this host")
    #expect(RelayedTerminal("there /dev/pts/0 0", host: "here")?.width == nil)
    #expect(RelayedTerminal("", host: "here") == nil && RelayedTerminal("not a tty", host: "x")?.width == nil)
  }
}
