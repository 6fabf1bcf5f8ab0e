import Foundation
import TestSupport
import Testing

/// The memory that `plan` predicts, against that of processes that train under `mpirun`, write checkpoints and evaluate.
@Suite(.tags(.mpi), .serialized, .timeLimit(.minutes(3))) struct MemoryTests {
  /// Runs a program and prints a line with the largest memory that it had, in kB.
  fileprivate static let script = """
    "$@" > /dev/null & process=$!
    while line=$(grep VmHWM /proc/$process/status 2> /dev/null); do peak=$line; sleep 0.02; done
    wait $process; status=$?
    echo "rank $OMPI_COMM_WORLD_RANK $peak"
    exit $status
    """

  @Test(arguments: ["replicated", "sharded"]) func planStatesWhatTheProcessesTake(vocabulary: String) throws {
    let bench = try bench()
    // The growth with the model is free of what does not depend on it: code, libraries, threads.
    let widths = [12, 500]
    let found = try widths.map { try bench.found(settings(vocabulary, embedding: $0)) }
    let needs = try widths.map { try bench.need(settings(vocabulary, embedding: $0)) }
    for rank in 0..<2 {
      let (growth, need) = (found[1][rank] - found[0][rank], needs[1][rank] - needs[0][rank])
      #expect(
        growth > 0.7 * need && growth < 1.2 * need + 5e6,
        "\(vocabulary), rank \(rank): predicted \(need), found \(growth)")
    }
  }

  private func settings(_ vocabulary: String, embedding: Int) -> [String] {
    [
      "model.variant=lstm", "model.embedding=\(embedding)", "exchange.vocabulary=\(vocabulary)",
      "training.steps=4", "coordinator.checkpointEvery=2", "coordinator.evaluateEvery=2",
      "exchange.hashEvery=0", "exchange.bucketMegabytes=1",
    ].flatMap { ["--set", $0] }
  }

  /// Many words, so that the tied matrix is nearly all of the model, and few to evaluate.
  private func bench() throws -> CommandBench {
    let bench = try CommandBench(wordCount: 6000)
    let words = (0..<500).map { "w\($0)" }.joined(separator: " ")
    let valid = try bench.folder.write(words, to: "valid.txt").path
    let prepared = try bench.milm(
      "prepare", "--train", bench.folder.file("text.txt"), "--valid", valid, "--output",
      bench.folder.file("memory"))
    try #require(prepared.status == 0, "\(prepared.transcript)")
    return bench
  }
}

extension CommandBench {
  /// The largest memory in bytes of each of two ranks that train.
  fileprivate func found(_ settings: [String]) throws -> [Double] {
    let output = folder.file("run-\(UUID().uuidString)")
    let run = try mpirun(
      2,
      ["bash", "-c", MemoryTests.script, "measure", program("milm"), "train", configuration]
        + ["--corpus", folder.file("memory"), "--output", output] + settings)
    try #require(run.status == 0, "\(run.transcript)")
    let lines = run.output.split(separator: "\n").map { $0.split(whereSeparator: \.isWhitespace) }
    return try (0..<2).map { rank in
      let line = try #require(lines.first { $0.starts(with: ["rank", "\(rank)"]) }, "\(run.transcript)")
      return 1024 * (try #require(line.dropLast().last.flatMap { Double($0) }))
    }
  }

  /// What each of two ranks needs by `plan`, in bytes.
  fileprivate func need(_ settings: [String]) throws -> [Double] {
    let plan = try start(
      [program("milm"), "plan", configuration, "--corpus", folder.file("memory"), "--ranks", "2", "--json"]
        + settings)
    let found = try object(plan)
    return try ["coordinatorMemoryBytes", "memoryBytes"].map { try #require(found[$0] as? Double) }
  }
}
