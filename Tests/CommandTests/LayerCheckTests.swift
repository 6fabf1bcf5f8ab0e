import Foundation
import TestSupport
import Testing

/// The check that no directory of a module uses a declaration of a directory above it, which CI runs.
@Suite struct LayerCheckTests {
  private let repository = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "../..").standardizedFileURL.path

  private func check(_ root: String) throws -> ProgramRun {
    try start(["python3", "\(repository)/Tests/check-layers.py", root])
  }

  @Test func noFolderUsesADirectoryAboveIt() throws {
    let run = try check(repository)
    #expect(run.status == 0, "\(run.transcript)")
  }

  @Test func aDirectoryThatUsesOneAboveItIsNamed() throws {
    let folder = try TemporaryFolder()
    #expect(try start(["cp", "-r", "\(repository)/Sources", folder.path]).status == 0)
    let wrong = [
      ("Tensors/Products", "ComputeEngine"), ("Corpus/Text", "Vocabulary"), ("Corpus", "CorpusBuilder"),
      ("Reporting/Page", "RunRecord"), ("Layers", "GatedResidual"), ("Studies", "MultitaskStudy"),
      ("Studies/Expressivity", "MultitaskStudy"), ("Communication/MPI", "Ranks"), ("Training/Data", "Step"),
    ]
    for (place, type) in wrong {
      try folder.write("func wrong(_ value: \(type)) {}\n", to: "Sources/\(place)/Wrong.swift")
    }
    let unlisted = folder.file("Sources/Platform/Unlisted")
    try FileManager.default.createDirectory(atPath: unlisted, withIntermediateDirectories: true)
    try folder.write("struct Wrong {}\n", to: "Sources/Platform/Unlisted/Wrong.swift")
    let run = try check(folder.path)
    #expect(run.status == 1)
    for (place, type) in wrong {
      #expect(
        run.errors.split(separator: "\n").contains {
          $0.hasPrefix("Sources/\(place)/Wrong.swift:1: ") && $0.contains(" uses \(type) of ")
        }, "\(place): \(run.errors)")
    }
    #expect(run.errors.contains("found Sources/Platform with directory Unlisted"), "\(run.errors)")
  }
}
