import Foundation
import TestSupport
import Testing

/// The command that `cluster/launch.sh --dry-run` prints, and the usage errors of the script.
struct LaunchTests {
  private func launch(_ arguments: [String], environment: [String: String] = [:]) throws -> ProgramRun {
    let script = repositoryFolder.appendingPathComponent("cluster/launch.sh").path
    // A Slurm job around the tests must not be visible to them.
    let clean = ["SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_CPUS_PER_TASK", "SLURM_JOB_NUM_NODES"]
    let unset = clean.filter { environment[$0] == nil }.flatMap { ["-u", $0] }
    // What the program is linked with would decide which launcher it is.
    let neutral = ["MILM": "/bin/true", "MILM_MPI": "openmpi"]
    return try start(
      ["env"] + unset + [script] + arguments, environment: neutral.merging(environment) { $1 })
  }

  @Test func oneHostIsUnboundAndDividesItsCores() throws {
    let run = try launch(["-n", "2", "--threads", "3", "--dry-run", "--", "train", "a file.yaml"])
    #expect(run.status == 0, "\(run.transcript)")
    #expect(run.output.contains("mpirun -n 2") && run.output.contains("--bind-to none"))
    #expect(run.output.contains("OMP_NUM_THREADS=3") && run.output.contains(#"train a\ file.yaml"#))
    #expect(run.output.split(separator: "\n").count == 1)
  }

  @Test func severalHostsAreBoundAndUseTheInterface() throws {
    let hosts = repositoryFolder.appendingPathComponent("cluster/jobs/hosts.example").path
    let run = try launch([
      "-n", "4", "--hostfile", hosts, "--threads", "16", "--interface", "eth7", "--dry-run", "--", "doctor",
    ])
    for part in [
      "--hostfile \(hosts)", "--map-by slot:PE=16", "OMPI_MCA_btl_tcp_if_include=eth7",
      "OMPI_MCA_oob_tcp_if_include=eth7", "OMPI_MCA_oob_tcp_keepalive_time=10",
      "PRTE_MCA_prte_if_include=eth7", "PRTE_MCA_oob_tcp_keepalive_time=10",
      "PRTE_MCA_oob_tcp_keepalive_intvl=5", "PRTE_MCA_oob_tcp_keepalive_probes=2",
    ] {
      #expect(run.output.contains(part), "\(run.transcript)")
    }
    #expect(!run.output.contains("--oversubscribe"))
  }

  /// Open MPI 5 has other names for what the user sets for version 4; what is set for version 5 stays.
  @Test func settingsOfTheLauncherAreGivenToBothVersions() throws {
    let run = try launch(
      ["-n", "2", "--host", "a,b", "--dry-run", "--", "train"],
      environment: [
        "OMPI_MCA_plm": "rsh", "OMPI_MCA_plm_rsh_agent": "/opt/agent",
        "OMPI_MCA_orte_tmpdir_base": "/scratch",
        "PRTE_MCA_prte_tmpdir_base": "/other",
      ])
    #expect(
      run.output.contains("PRTE_MCA_plm=ssh") && run.output.contains("PRTE_MCA_plm_ssh_agent=/opt/agent"),
      "\(run.transcript)")
    #expect(!run.output.contains("PRTE_MCA_prte_tmpdir_base"), "\(run.transcript)")
  }

  private let mpich = ["MILM_MPI": "mpich", "OMPI_MCA_btl": "self"]

  @Test func hydraIsToldTheSame() throws {
    let folder = try TemporaryFolder()
    let hosts = try folder.write("# two\nnode1 slots=2\n\nnode2 slots = 1 # slow\nnode3\n", to: "hosts").path
    let run = try launch(
      [
        "-n", "4", "--hostfile", hosts, "--threads", "16", "--interface", "eth7", "--dry-run", "--", "doctor",
      ],
      environment: mpich)
    for part in [
      "-n 4 -hosts node1:2", "node2:1", "node3 ", "-bind-to core:16", "-iface eth7", "UCX_NET_DEVICES=eth7",
    ] {
      #expect(run.output.contains(part), "\(run.transcript)")
    }
    #expect(!run.output.contains("_MCA_") && !run.output.contains(" -x "), "\(run.transcript)")
    #expect(run.errors == "launch: MPICH ignores settings of Open MPI: OMPI_MCA_btl\n")
    let agent = try launch(
      ["-n", "2", "--host", "a,b", "--dry-run", "--", "doctor"],
      environment: mpich.merging(["OMPI_MCA_plm_rsh_agent": "/opt/agent"]) { $1 })
    #expect(agent.output.contains("-launcher rsh -launcher-exec /opt/agent"), "\(agent.transcript)")
    let slurm = try launch(
      ["--srun", "--dry-run", "--", "doctor"],
      environment: mpich.merging(["SLURM_JOB_ID": "7", "SLURM_NTASKS": "6"]) { $1 })
    #expect(slurm.output.contains("srun -n 6 --mpi=pmi2"), "\(slurm.transcript)")
  }

  @Test(arguments: [
    ["-n", "2", "--host", "a:*", "--dry-run", "--", "doctor"],
    ["-n", "2", "--host", "a,b", "--interface", "10.0.0.0/24", "--dry-run", "--", "doctor"],
  ])
  func whatHydraCannotIsRefused(arguments: [String]) throws {
    let run = try launch(arguments, environment: ["MILM_MPI": "mpich"])
    #expect(run.status == 64 && run.errors.contains("with MPICH"), "\(run.transcript)")
    #expect(run.errors.split(separator: "\n").count == 1, "\(run.transcript)")
  }

  /// Open MPI ends with status 0 when a daemon does not connect (4.1) or a host is lost (5).
  @Test(arguments: [
    ("exit 0", 0, 1), ("echo ready >&2", 0, 1), ("echo \"$MILM_END_MARK: finished\" >&2", 0, 0),
    ("printf 'step 7%s: finished\\n' \"$MILM_END_MARK\" >&2", 0, 0), ("exit 0", 75, 75),
    ("echo \"$MILM_END_MARK: finished\" >&2", 137, 137),
  ])
  func aJobHasSucceededIfMilmSaysSo(program: String, status: Int, expected: Int) throws {
    let run = try launch(["-n", "2", "--", "doctor"], mpirun: "(\(program)); exit \(status)")
    #expect(run.status == expected, "\(run.transcript)")
    #expect(!run.errors.contains(": finished") && !run.errors.contains(": end"), "\(run.transcript)")
    #expect(
      run.errors.contains("expected milm to report its end") == (status == 0 && expected == 1),
      "\(run.transcript)")
    if program.contains("step 7") { #expect(run.errors.contains("step 7\n"), "\(run.transcript)") }
  }

  @Test(arguments: [false, true])
  func ranksAndThreadsDefaultToTheSlurmJob(viaSrun: Bool) throws {
    let run = try launch(
      (viaSrun ? ["--srun"] : []) + ["--dry-run", "--", "train", "a.yaml"],
      environment: [
        "SLURM_JOB_ID": "7", "SLURM_NTASKS": "6", "SLURM_CPUS_PER_TASK": "8", "SLURM_JOB_NUM_NODES": "3",
      ])
    #expect(run.output.contains(viaSrun ? "srun -n 6 --mpi=pmix" : "mpirun -n 6"), "\(run.transcript)")
    #expect(run.output.contains(viaSrun ? "--cpus-per-task=8" : "--map-by slot:PE=8"))
  }

  @Test(arguments: [
    ["-n", "2"], ["-n", "0", "--", "train"], ["-n", "2", "--interface"],
    ["-n", "2", "--sideways", "--", "train"],
    ["-n", "2", "--hostfile", "/no-such-file", "--", "train"], ["-n", "2", "--srun", "--", "train"],
    ["-n", "2", "--srun", "--host", "a", "--", "train"],
  ])
  func wrongUsageIsReportedInOneLine(arguments: [String]) throws {
    let run = try launch(arguments)
    #expect(run.status == 64, "\(run.transcript)")
    #expect(run.errors.hasPrefix("launch: expected") && run.errors.split(separator: "\n").count == 1)
  }

  /// Runs `launch.sh` with a shell script in place of `mpirun`.
  private func launch(
    _ arguments: [String], mpirun script: String, environment: [String: String] = [:]
  ) throws -> ProgramRun {
    let folder = try TemporaryFolder()
    for (name, text) in [("milm", ":"), ("mpirun", script)] {
      try folder.write("#!/bin/bash\n\(text)\n", to: name)
      chmod(folder.file(name), 0o755)
    }
    let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
    return try launch(
      arguments,
      environment: ["PATH": "\(folder.path):\(path)", "MILM": folder.file("milm")].merging(environment) { $1 }
    )
  }

  /// Open MPI reads the file several times.
  @Test(arguments: ["\u{FEFF}node1 slots=2\nnode2 slots=2\n", "\u{FEFF}node1 slots=2\r\nnode2 slots=2\r\n"])
  func openMPIReadsAHostfileFromWindows(text: String) throws {
    let folder = try TemporaryFolder()
    let hosts = try folder.write(text, to: "my hosts").path
    let read = "while [ $# -gt 0 ]; do [ \"$1\" != --hostfile ] || cat \"$2\" \"$2\"; shift; done; exit 3"
    let run = try launch(["-n", "4", "--hostfile", hosts, "--", "doctor"], mpirun: read)
    #expect(run.status == 3, "\(run.transcript)")
    #expect(run.output == String(repeating: "node1 slots=2\nnode2 slots=2\n", count: 2), "\(run.transcript)")
    #expect(FileManager.default.contents(atPath: hosts) == Data(text.utf8))
    let shown = try launch(["-n", "4", "--hostfile", hosts, "--dry-run", "--", "doctor"])
    #expect(shown.status == 0 && shown.output.contains("my\\ hosts"), "\(shown.transcript)")
  }

  /// The job in which the run is continued may have another number of tasks.
  @Test(arguments: [
    (["-n", "3", "--"], [:], " -n 3 -- "), (["--"], ["SLURM_JOB_ID": "7", "SLURM_NTASKS": "6"], " -n 6 -- "),
    (["--threads", "2", "--"], ["SLURM_JOB_ID": "7", "SLURM_NTASKS": "6"], " -n 6 --threads 2 -- "),
  ])
  func theLineToContinueHasTheNumberOfRanks(options: [String], job: [String: String], expected: String) throws
  {
    let run = try launch(
      options + ["doctor"], mpirun: "echo \"$MILM_LAUNCHED_BY doctor\"; exit 3", environment: job)
    #expect(
      run.output.contains("cluster/launch.sh\(expected)doctor") && run.output.hasPrefix("env MILM="),
      "\(run.transcript)")
  }
}
