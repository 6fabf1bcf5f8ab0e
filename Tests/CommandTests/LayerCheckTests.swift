import Foundation
import TestSupport
import Testing

/// The checks of modules against Package.swift, and of directories against those above them, which CI runs.
@Suite struct LayerCheckTests {
  private let repository = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "../..").standardizedFileURL.path

  private func check(_ root: String, with script: String = "check-layers.py", _ options: String...) throws
    -> ProgramRun
  {
    try start(["python3", "\(repository)/Tests/\(script)"] + options + [root])
  }

  @Test func everyImportIsInPackageSwiftAndTheGraphShowsIt() throws {
    let run = try check(repository, with: "check-imports.py")
    #expect(run.status == 0, "\(run.transcript)")
  }

  @Test func anImportThatPackageSwiftDoesNotListIsNamedAndAnotherGraphIsRefused() throws {
    let folder = try TemporaryFolder()
    #expect(
      try start(["cp", "-r", "\(repository)/Sources", "\(repository)/Package.swift", folder.path]).status == 0
    )
    let wrong = [
      ("Platform", "import Tensors"), ("Layers", "package import Communication"),
      ("Corpus", "  @preconcurrency import Yams"), ("Studies", "import struct Training.Step"),
    ]
    for (module, line) in wrong {
      try folder.write("import Foundation\n\(line)\n", to: "Sources/\(module)/Wrong.swift")
    }
    // A comment is no dependency; `Evaluation` is one that the graph does not have.
    let package = try String(contentsOfFile: folder.file("Package.swift"), encoding: .utf8)
    try folder.write(
      package.replacing(
        #"name: "Studies", dependencies: ["#,
        with: "name: \"Studies\", // \"Training\"\n dependencies: [\"Evaluation\", "), to: "Package.swift")
    let run = try check(folder.path, with: "check-imports.py")
    #expect(run.status == 1)
    let errors = run.errors.split(separator: "\n")
    #expect(errors.count == wrong.count + 1, "\(run.errors)")
    for (module, _) in wrong {
      #expect(
        errors.contains { $0.hasPrefix("Sources/\(module)/Wrong.swift:2: ") }, "\(module): \(run.errors)")
    }
    #expect(run.errors.contains(": expected the graph of Package.swift"), "\(run.errors)")
    for (module, _) in wrong {
      try FileManager.default.removeItem(atPath: folder.file("Sources/\(module)/Wrong.swift"))
    }
    _ = try check(folder.path, with: "check-imports.py", "--graph")
    #expect(try check(folder.path, with: "check-imports.py").status == 0)
    let graph = try String(
      contentsOfFile: folder.file("Sources/milm/milm.docc/Architecture.md"), encoding: .utf8)
    #expect(graph.contains("\n6  Studies        imports Evaluation, Reporting\n"), "\(graph.prefix(2000))")
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
