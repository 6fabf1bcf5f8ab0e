import Foundation
import TestSupport
import Testing

/// What a power failure may find on disk: the order of the calls that force it there, as `strace` sees them.
@Suite(.timeLimit(.minutes(3))) struct PowerFailureTests {
  private static var hasTracer: Bool { (try? start(["strace", "-f", "-y", "true"]).status) == 0 }

  @Test(.enabled("expected strace, and the right to use it") { hasTracer })
  func metricsAreOnDiskBeforeTheCheckpointHasItsName() throws {
    let bench = try CommandBench()
    let output = bench.folder.file("run")
    let trace = bench.folder.file("trace")
    let run = try start(
      ["strace", "-f", "-y", "-e", "trace=fsync,/rename,/mkdir", "-o", trace] + [
        program("milm"), "train", bench.configuration, "--corpus", bench.corpus, "--output", output,
      ])
    try #require(run.status == 0, "\(run.transcript)")
    let lines = try String(contentsOfFile: trace, encoding: .utf8).split(separator: "\n")
    let named = lines.indices.filter {
      lines[$0].contains("rename") && lines[$0].contains(".tmp-") && lines[$0].contains("/checkpoints/step-")
    }
    let synced = lines.indices.filter {
      lines[$0].contains("fsync(") && lines[$0].contains("/metrics.jsonl>")
    }
    #expect(named.count == 3, "\(lines.joined(separator: "\n"))")
    for (index, place) in named.enumerated() {
      let earlier = index == 0 ? 0 : named[index - 1]
      #expect(synced.contains { (earlier..<place).contains($0) }, "checkpoint \(index)")
    }
    let made = try #require(lines.firstIndex { $0.contains("mkdir") && $0.contains("\"\(output)\"") })
    #expect(lines[made...].contains { $0.contains("fsync(") && $0.contains("<\(bench.folder.path)>") })
  }
}
