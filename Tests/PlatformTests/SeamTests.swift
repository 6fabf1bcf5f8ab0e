import Foundation
import Testing

/// What only one file of the sources may do, so that it is done right everywhere.
struct SeamTests {
  struct Seam: CustomTestStringConvertible {
    let what: String
    let pattern: String
    /// The files that may.
    let files: Set<String>
    var testDescription: String { what }
  }

  static let seams = [
    Seam(
      what: "printing",
      pattern:
        #"(^|[^\w.])(print|debugPrint|dump|puts|fputs|printf)\(|FileHandle\.standard(Output|Error)|STD(OUT|ERR)_FILENO|"#
        + #"\bstd(out|err)\b"#,
      // CStart runs before the program and its libraries; the two others give a child its streams, and look at another
      // process's.
      files: ["StandardStream.swift", "CStart.c", "ChildProcess.swift", "RelayedTerminal.swift"]),
    Seam(
      what: "starting threads",
      pattern: #"(^|[^\w.])Thread( \{|\(|\.detach)|pthread_create|DispatchQueue|DispatchSource|DispatchWork|"#
        + #"(^|[^\w])Task( \{|\.)|OperationQueue"#,
      // URLSession takes a queue of callbacks.
      files: ["SystemThread.swift", "HTTPTransfer.swift"]),
    Seam(
      what: "asking the system for memory",
      pattern: #"\.(de)?allocate\(|posix_memalign|aligned_alloc|\b[mc]alloc\(|realloc\(|mmap\("#,
      // oneDNN's shim returns its status where there is no memory.
      files: ["SystemMemory.swift", "CDNNL.c", "CStart.c"]),
  ]

  private static let sources = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Sources")

  @Test(arguments: seams) func onlyItsFileDoesIt(seam: Seam) throws {
    let pattern = try Regex(seam.pattern)
    let files = try #require(
      FileManager.default.enumerator(at: Self.sources, includingPropertiesForKeys: nil))
    var names: Set<String> = []
    for case let file as URL in files where ["swift", "c", "h"].contains(file.pathExtension) {
      names.insert(file.lastPathComponent)
      guard !seam.files.contains(file.lastPathComponent) else { continue }
      let lines = try String(contentsOf: file, encoding: .utf8).split(
        separator: "\n", omittingEmptySubsequences: false)
      for (number, line) in lines.enumerated() {
        let code = line.replacing(#/\/\/.*/#, with: "")
        #expect(code.firstMatch(of: pattern) == nil, "\(file.lastPathComponent):\(number + 1): \(line)")
      }
    }
    #expect(names.count > 200)
    let missing = seam.files.subtracting(names)
    #expect(missing.isEmpty, "files that are not there may do it: \(missing)")
  }
}
