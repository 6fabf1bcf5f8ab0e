import Foundation
import Platform
import TestSupport
import Testing

struct AtomicFileTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test func keepsTheOldContentUntilItIsFinished() throws {
    let path = folder.file("a")
    try AtomicFile.write("old", to: path)
    let file = try AtomicFile(path)
    try Array("xew".utf8).withUnsafeBytes { try file.append($0) }
    try Array("n".utf8).withUnsafeBytes { try file.overwriteStart(with: $0) }
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "old")
    try file.finish()
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "new")
    #expect(try folder.entries() == ["a"])
  }

  /// The directories that were made for an entry go with it where they are empty.
  @Test func aTemporaryEntryGoesWithItsOwner() throws {
    try makeDirectories(folder.file("a/b"))
    try makeDirectories(folder.file("c/d"))
    do {
      let kept = TemporaryEntry(folder.file("kept"))
      let lost = [
        TemporaryEntry(folder.file("a/b/.x.tmp"), newParents: [folder.file("a/b"), folder.file("a")]),
        TemporaryEntry(folder.file("c/d/.y.tmp"), newParents: [folder.file("c/d"), folder.file("c")]),
      ]
      for entry in lost + [kept] { try makeDirectories("\(entry.path)/inside") }
      try folder.write("other", to: "c/note")
      kept.finish {}
      withExtendedLifetime(lost) {}
    }
    #expect(try folder.entries() == ["c", "kept"] && folder.entries("c") == ["note"])
  }

  @Test func leavesNothingBehindUnlessFinished() throws {
    do {
      let file = try AtomicFile(folder.file("a"))
      try [1, 2].withUnsafeBytes { try file.append($0) }
      #expect(try folder.entries().allSatisfy { AtomicFile.isTemporary($0, of: "a") })
    }
    #expect(try folder.entries() == [])
    try FileManager.default.createDirectory(atPath: folder.file("b/c"), withIntermediateDirectories: true)
    #expect(throws: MilmError.self) { try AtomicFile.write("x", to: folder.file("b")) }
    #expect(try folder.entries() == ["b"])
  }

  @Test func replacesNothingButARegularFile() throws {
    try folder.write("old", to: "a")
    try FileManager.default.createSymbolicLink(atPath: folder.file("link"), withDestinationPath: "a")
    try FileManager.default.createDirectory(atPath: folder.file("folder"), withIntermediateDirectories: true)
    #expect(mkfifo(folder.file("pipe"), 0o600) == 0)
    for (name, found) in [
      (folder.file("link"), "a symbolic link"), (folder.file("folder"), "a directory"),
      (folder.file("pipe"), "a device, a pipe or a socket"), ("/dev/full", "a device, a pipe or a socket"),
    ] {
      let error = MilmError("\(name): expected a regular file to replace, or none, found \(found)")
      #expect(throws: error) { try AtomicFile.write("x", to: name) }
    }
    #expect(try folder.entries().sorted() == ["a", "folder", "link", "pipe"])
    #expect(try String(contentsOfFile: folder.file("a"), encoding: .utf8) == "old")
  }

  /// As `--per-token PATH` does.
  @Test func anOutputGoesThroughLinksDevicesAndPipes() throws {
    try folder.write("old", to: "a")
    try FileManager.default.createSymbolicLink(atPath: folder.file("link"), withDestinationPath: "a")
    try AtomicFile.write("new", toOutput: folder.file("link"), beginning: "")
    #expect(try String(contentsOfFile: folder.file("a"), encoding: .utf8) == "new")
    try AtomicFile.write("newer", toOutput: folder.file("a"), beginning: "new")
    #expect(try String(contentsOfFile: folder.file("link"), encoding: .utf8) == "newer")
    guard case .symbolicLink = try FileEntry(at: folder.file("link")) else {
      Issue.record("the link was replaced")
      return
    }
    #expect(throws: MilmError("/dev/full: cannot write: No space left on device")) {
      try AtomicFile.write("x", toOutput: "/dev/full", beginning: "x")
    }
    guard case .other = try FileEntry(at: "/dev/full") else {
      Issue.record("the device was replaced")
      return
    }
    let pipe = folder.file("pipe")
    #expect(mkfifo(pipe, 0o600) == 0)
    let reader = open(pipe, O_RDONLY | O_NONBLOCK)
    defer { close(reader) }
    try AtomicFile.write("through", toOutput: pipe, beginning: "th")
    var bytes = [UInt8](repeating: 0, count: 16)
    #expect(read(reader, &bytes, 16) == 7 && bytes.prefix(7).elementsEqual("through".utf8))
    try FileManager.default.createSymbolicLink(atPath: folder.file("dangling"), withDestinationPath: "none")
    #expect(throws: MilmError.self) {
      try AtomicFile.write("x", toOutput: folder.file("dangling"), beginning: "")
    }
    #expect(try folder.entries().sorted() == ["a", "dangling", "link", "pipe"])
  }

  @Test func anOutputDirectoryOfAnotherKindIsRefused() throws {
    let marks: [DirectoryKind: [String]] = [
      .corpus: ["corpus.json"], .run: ["config.yaml", "checkpoints"],
      .checkpoint: ["state.json", "model.safetensors"], .study: ["config.json", "settings"],
    ]
    for (kind, entries) in marks {
      let path = folder.file(kind.rawValue)
      try kind.requireOutput(path)
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      for entry in entries { try folder.write("", to: "\(kind.rawValue)/\(entry)") }
      for other in DirectoryKind.allCases where other != kind {
        let error = MilmError(
          path, "expected a new directory or a \(other.rawValue) to write, found a \(kind.rawValue)")
        #expect(throws: error) { try other.requireOutput(path) }
      }
      try kind.requireOutput(path)
    }
    let file = try folder.write("", to: "file").path
    #expect(throws: MilmError(file, "expected a new directory or a run to write, found a file")) {
      try DirectoryKind.run.requireOutput(file)
    }
  }

  @Test func namesItsPathWhenTheDirectoryIsMissing() {
    let path = folder.file("none/a")
    let error = #expect(throws: MilmError.self) { try AtomicFile.write("x", to: path) }
    #expect(error?.description == "\(path): cannot create: No such file or directory")
  }

  @Test(arguments: ["a", "/a", "x/a.txt", "/x/.a"])
  func temporaryNamesAreRecognized(path: String) {
    let temporary = AtomicFile.temporaryPath(for: path)
    #expect(parentDirectory(of: temporary) == parentDirectory(of: path))
    let (name, own) = (URL(filePath: path).lastPathComponent, URL(filePath: temporary).lastPathComponent)
    #expect(AtomicFile.isTemporary(own))
    #expect(AtomicFile.isTemporary(own, of: name))
    #expect(!AtomicFile.isTemporary(own, of: "other"))
    #expect(!AtomicFile.isTemporary(name))
    #expect(AtomicFile.temporaryPath(for: path) != temporary)
  }

  @Test func onlyTemporaryFilesCountAsLeftovers() throws {
    let kept = [".hidden", ".tmp", "a.tmp", "notes.x1.tmp"]
    for name in kept + [".a.x1.tmp", ".b.json.x2.tmp"] { try folder.write("x", to: name) }
    try AtomicFile.removeLeftovers(in: folder.path)
    #expect(try folder.entries().sorted() == kept.sorted())
  }
}

struct OpenFileTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test func readsRegularFilesOnly() throws {
    try folder.write("text", to: "a")
    try FileManager.default.createSymbolicLink(atPath: folder.file("l"), withDestinationPath: "a")
    #expect(mkfifo(folder.file("p"), 0o600) == 0)
    #expect(try OpenFile.reading(folder.file("a")).readAll() == Array("text".utf8))
    #expect(try OpenFile.reading(folder.file("l"), followsLinks: true).readAll() == Array("text".utf8))
    for name in ["l", "p", ".", "none"] {
      #expect(throws: MilmError.self) { _ = try OpenFile.reading(folder.file(name)).readAll() }
    }
    #expect(try regularFileContent(folder.file("none")) == nil)
    #expect(try regularFileContent(folder.file("a")) == Array("text".utf8))
    #expect(throws: MilmError.self) { try regularFileContent(folder.file("l")) }
  }

  @Test func refusesMoreThanTheLimit() throws {
    try folder.write("text", to: "a")
    #expect(try OpenFile.reading(folder.file("a")).readAll(limit: 4).count == 4)
    #expect(throws: MilmError("\(folder.file("a")): expected at most 3 bytes, found more")) {
      try OpenFile.reading(folder.file("a")).readAll(limit: 3)
    }
  }

  @Test func appendsAcrossOpenings() throws {
    for byte in [1, 2] as [UInt8] {
      let file = try OpenFile.appending(folder.file("a"))
      try file.append([byte])
    }
    #expect(try OpenFile.reading(folder.file("a")).readAll() == [1, 2])
  }

  @Test func appendsToNothingButARegularFile() throws {
    try folder.write("old", to: "a")
    try FileManager.default.createSymbolicLink(atPath: folder.file("link"), withDestinationPath: "a")
    #expect(mkfifo(folder.file("pipe"), 0o600) == 0)
    #expect(mkfifo(folder.file("read"), 0o600) == 0)
    let reader = open(folder.file("read"), O_RDONLY | O_NONBLOCK)
    defer { close(reader) }
    for name in ["link", "pipe", "read"] {
      #expect(throws: MilmError.self, "\(name)") { try OpenFile.appending(folder.file(name)).append([1]) }
    }
    #expect(try OpenFile.reading(folder.file("a")).readAll() == Array("old".utf8))
  }

  @Test func isLockedByOneAtATime() throws {
    let first = try OpenFile.updating(folder.file("a"))
    let second = try OpenFile.updating(folder.file("a"))
    #expect(try first.lock())
    #expect(try !second.lock())
    first.unlock()
    #expect(try second.lock())
  }

  @Test func anUnlinkedFileHoldsItsContentWithoutAName() throws {
    let file = try OpenFile.unlinked(in: folder.path)
    #expect(try folder.entries() == [])
    try [1, 2, 3].withUnsafeBytes { try file.write($0) }
    try file.seek(to: 0)
    var content = [0, 0, 0, 9]
    let count = try content.withUnsafeMutableBytes { try file.readAll(into: $0) }
    #expect(count == 3 * MemoryLayout<Int>.stride)
    #expect(content == [1, 2, 3, 9])
  }

  @Test func readsAtAnOffsetWithoutMoving() throws {
    try folder.write("0123456789", to: "a")
    let file = try OpenFile.reading(folder.file("a"))
    var bytes = [UInt8](repeating: 0, count: 4)
    for (offset, expected) in [(2, "2345"), (7, "789"), (10, ""), (99, "")] {
      let count = try bytes.withUnsafeMutableBytes { try file.readAll(into: $0, at: offset) }
      #expect(String(decoding: bytes[..<count], as: UTF8.self) == expected)
    }
    #expect(try file.readAll() == Array("0123456789".utf8))
  }
}

struct DirectoryTests {
  @Test func theReasonOfTheSystemIsNamed() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("", to: "file").path
    try FileManager.default.createSymbolicLink(atPath: folder.file("loop"), withDestinationPath: "loop")
    func reason(_ path: String, _ body: () throws -> Void) -> String {
      let error = #expect(throws: MilmError.self) { try body() }
      return (error?.description ?? "").replacing("\(path): ", with: "")
    }
    #expect(reason(file) { _ = try directoryEntries(file) } == "cannot list the directory: Not a directory")
    let loop = folder.file("loop")
    #expect(
      reason(loop) { _ = try directoryEntries(loop) }
        == "cannot list the directory: Too many levels of symbolic links")
    #expect(
      reason(loop) { _ = try FileEntry(at: loop, followingLinks: true) }
        == "cannot examine: Too many levels of symbolic links")
    #expect(
      reason(file) { _ = try linkTarget(file) } == "cannot read the symbolic link: Invalid argument")
    let none = folder.file("none")
    #expect(reason(none) { try removeEntry(none) } == "cannot remove: No such file or directory")
    #expect(reason(folder.path) { _ = try readIfPresent(folder.path) }.contains("expected a file"))
    #expect(try readIfPresent(none) == nil)
  }

  @Test func namesThatAreNotUTF8AreKeptApart() throws {
    let folder = try TemporaryFolder()
    try folder.write("", to: "a")
    let path = Array("\(folder.path)/b".utf8CString.dropLast()) + [CChar(bitPattern: 0xFF), 0]
    let descriptor = open(path, O_CREAT | O_WRONLY, 0o600)
    try #require(descriptor >= 0)
    close(descriptor)
    #expect(try directoryEntries(folder.path) == ["a"])
  }
}
