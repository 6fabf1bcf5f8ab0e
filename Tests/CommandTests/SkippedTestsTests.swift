import Foundation
import TestSupport
import Testing

/// What `cluster/test.sh` does with tests that did not run: a test that is skipped in silence proves nothing.
struct SkippedTestsTests {
  private func list(_ log: String, ci: String) throws -> ProgramRun {
    let folder = try TemporaryFolder()
    let file = try folder.write(log, to: "log").path
    return try start(
      [
        "bash", "-euo", "pipefail", "-c",
        ". '\(repositoryFolder.path)/cluster/common.sh'; list_skipped '\(file)' 'needsData|needsAnother'; stage_report",
      ],
      environment: ["CI": ci])
  }

  private let allowed = "◇ Test run started.\n➜ Test needsData() skipped.\n✔ Test other() passed.\n"
  private let expected = "➜ Test onAFullDisk(pageCount:) skipped: \"mounting needs root\"\n"

  @Test func theyAreListedWithTheirReason() throws {
    let run = try list(allowed + expected, ci: "false")
    #expect(run.status == 0, "\(run.transcript)")
    let table = run.errors.components(separatedBy: "\n\n").last ?? ""
    #expect(table.contains(/Test needsData\(\) +skipped, it does not say why/), "\(run.transcript)")
    #expect(
      table.contains(/Test onAFullDisk\(pageCount:\) +skipped, mounting needs root/), "\(run.transcript)")
  }

  @Test func inCIThoseThatCanRunMust() throws {
    #expect(try list(allowed, ci: "true").status == 0)
    let run = try list(allowed + expected, ci: "true")
    #expect(run.status == 1, "\(run.transcript)")
    #expect(
      run.errors.contains(
        "expected Test onAFullDisk(pageCount:) to run in CI, found that it cannot: mounting needs root"),
      "\(run.transcript)")
  }
}
