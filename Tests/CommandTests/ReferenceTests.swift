import Foundation
import TestSupport
import Testing

/// The pages that `milm reference` writes.
@Suite struct ReferenceTests {
  private func reference(_ arguments: String...) throws -> ProgramRun {
    try start([program("milm"), "reference", "--output"] + arguments)
  }

  @Test func thePagesInTheCatalogAreWhatTheProgramWrites() throws {
    let catalog = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../../Sources/milm/milm.docc").standardizedFileURL.path
    let checked = try reference(catalog, "--check")
    #expect(checked.status == 0, "\(checked.transcript)")
  }

  @Test func theFirstDifferingLineIsNamed() throws {
    let folder = try TemporaryFolder()
    #expect(try reference(folder.path).status == 0)
    #expect(try reference(folder.path, "--check").status == 0)
    let page = folder.file("ConfigurationReference.md")
    let text = try String(contentsOfFile: page, encoding: .utf8)
    let line = try #require(
      text.split(separator: "\n", omittingEmptySubsequences: false).firstIndex {
        $0.contains("`training.steps`") && $0.contains("may change")
      })
    try Data(text.replacing("`training.steps`", with: "`training.stops`").utf8).write(to: URL(filePath: page))
    let checked = try reference(folder.path, "--check")
    #expect(checked.status == 1)
    #expect(checked.transcript.contains("ConfigurationReference.md:\(line + 1): expected"))
  }

  @Test func everyKeyHasAMeaning() throws {
    let folder = try TemporaryFolder()
    #expect(try reference(folder.path).status == 0)
    let text = try String(contentsOfFile: folder.file("ConfigurationReference.md"), encoding: .utf8)
    let rows = text.split(separator: "\n").filter { $0.hasPrefix("| `") }
    #expect(rows.count > 40)
    for row in rows { #expect(row.hasSuffix(". |"), "\(row)") }
  }
}
