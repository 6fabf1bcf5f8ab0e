import Corpus
import Foundation
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct DownloadTests {
  private let folder: TemporaryFolder
  private let server: FileServer
  private static let content = (0..<400_000).map { UInt8(truncatingIfNeeded: $0 * ($0 >> 7)) }
  /// The reference value is that of Python's `hashlib`.
  private let sha256 = "644b9083c5d8e22758c61086832a517995fcc4e37de55af2fbc16fe41dccb154"
  private var file: URL { folder.url("file.zip") }

  init() throws {
    folder = try TemporaryFolder()
    server = try FileServer(Self.content)
  }

  private func download(_ faults: [String], byteCount: Int? = nil, sha256: String? = nil) throws -> Download {
    Download(
      addresses: try faults.map(server.address), sha256: sha256 ?? self.sha256, byteCount: byteCount,
      advice: "fetch it by hand", timeoutSeconds: 2)
  }

  @Test(arguments: [
    ("whole", ["whole -"]),
    ("no-ranges", ["no-ranges -", "no-ranges bytes=200000-"]),
    ("busy", ["busy -", "busy -"]),
    ("stalls", ["stalls -", "stalls bytes=200000-"]),
    ("long", ["long -", "long bytes=400000-"]),
  ])
  func fetchesTheFileWithTheFewestPossibleRequests(fault: String, requests: [String]) throws {
    try download([fault]).fetch(to: file)
    #expect(try firstDifference(Data(contentsOf: file), Self.content) == nil)
    #expect(server.requests == requests)
    #expect(try folder.entries() == ["file.zip"])
  }

  @Test func resumesAfterABrokenConnection() throws {
    let progress = Progress()
    try download(["breaks"]).fetch(to: file) { progress.note($0, of: $1) }
    #expect(try firstDifference(Data(contentsOf: file), Self.content) == nil)
    #expect(server.requests.prefix(3) == ["breaks -", "breaks bytes=200000-", "breaks bytes=300000-"])
    #expect(progress.last.done == Self.content.count && progress.last.total == Self.content.count)
    #expect(!progress.fellBack)
  }

  @Test func resumesAfterAnInterruptedProcess() throws {
    try folder.write(Array(Self.content.prefix(123_456)), to: "file.zip.part")
    try download(["whole"]).fetch(to: file)
    #expect(server.requests == ["whole bytes=123456-"])
    #expect(try firstDifference(Data(contentsOf: file), Self.content) == nil)
  }

  @Test(arguments: [1, 400_000, 500_000])
  func discardsThePartOfAnotherFile(byteCount: Int) throws {
    try folder.write([UInt8](repeating: 7, count: byteCount), to: "file.zip.part")
    try download(["whole"]).fetch(to: file)
    #expect(server.requests == ["whole bytes=\(byteCount)-", "whole -"])
    #expect(try firstDifference(Data(contentsOf: file), Self.content) == nil)
  }

  @Test func onlyVerifiesAnExistingFile() throws {
    try folder.write(Self.content, to: "file.zip")
    try download(["whole"]).fetch(to: file)
    #expect(server.requests == [])
    try folder.write("other", to: "file.zip")
    let said = try #require(message { try download(["whole"]).fetch(to: file) })
    #expect(said.contains("file.zip") && said.contains(sha256))
  }

  @Test func fallsBackToTheNextAddress() throws {
    try download(["missing", "wrong", "whole"]).fetch(to: file)
    #expect(server.requests == ["missing -", "wrong -", "whole -"])
    #expect(try firstDifference(Data(contentsOf: file), Self.content) == nil)
  }

  @Test(arguments: [
    ("drips", "expected at least 10000 bytes/s, found "),
    ("sips", "expected at least 10000 bytes/s, found "),
    ("head-drips", "expected its headers within 2 s, found none complete"),
    ("silent", "expected its headers within 2 s, found none complete"),
  ])
  func aSlowAddressIsGivenUpForTheNext(fault: String, reason: String) throws {
    let start = ContinuousClock.now
    let said = message { try download([fault, "missing"]).fetch(to: file) }
    #expect(said?.contains(reason) == true && said?.contains("HTTP status 404") == true, "\(said ?? "")")
    #expect(ContinuousClock.now - start < .seconds(15))
    try download([fault, "whole"]).fetch(to: file)
    #expect(ContinuousClock.now - start < .seconds(30))
    // What has dripped is kept.
    let isKept = fault == "drips" || fault == "sips"
    #expect(server.requests.first == "\(fault) -")
    #expect((server.requests.last == "whole -") != isKept, "\(server.requests.suffix(3))")
    #expect(try firstDifference(Data(contentsOf: file), Self.content) == nil)
  }

  /// What is received and not yet written must not fill the memory: the server has to wait.
  @Test func aServerFasterThanTheDiskWaits() throws {
    let server = try FileServer([UInt8](repeating: 7, count: 64 << 20))
    let progress = SlowProgress(server)
    let download = Download(addresses: [try server.address("counted")], sha256: sha256)
    let said = message { try download.fetch(to: file) { done, _ in progress.note(done) } }
    #expect(said?.contains("SHA-256") == true, "\(said ?? "")")
    #expect((1..<32 << 20).contains(progress.sentByteCount), "\(progress.sentByteCount)")
  }

  @Test(
    arguments: [
      ("missing", nil, "HTTP status 404"), ("wrong", nil, "SHA-256"),
      ("longer", 400_000, "found one of 400010"), ("whole", 399_000, "found one of 400000"),
    ] as [(String, Int?, String)])
  func failureIsOneLineWithTheReason(fault: String, byteCount: Int?, reason: String) throws {
    let said = try #require(
      message { try download([fault, "missing"], byteCount: byteCount).fetch(to: file) })
    #expect(said.contains(reason) && said.contains("HTTP status 404"), "\(said)")
    #expect(try said.contains(server.address(fault).absoluteString))
    #expect(said.hasSuffix("; fetch it by hand") && !said.contains("\n"))
    #expect(!FileManager.default.fileExists(atPath: file.path))
  }

  @Test func reportsARefusedConnection() throws {
    let address = try #require(URL(string: "http://127.0.0.1:1/file.zip"))
    let said = message {
      try Download(addresses: [address], sha256: sha256, timeoutSeconds: 2, retryCount: 1).fetch(to: file)
    }
    #expect(said?.contains("127.0.0.1:1") == true && said?.contains("\n") == false, "\(said ?? "")")
  }

  @Test func defaultAddressesNameTheArchive() {
    #expect(WikiText103.addresses.count == 2)
    #expect(WikiText103.addresses.allSatisfy { $0.lastPathComponent == "wikitext-103-v1.zip" })
    #expect(WikiText103.sha256.count == 64)
  }
}

/// The last progress of a download, and whether it ever decreased.
private final class Progress: @unchecked Sendable {
  private(set) var last = (done: 0, total: 0)
  private(set) var fellBack = false

  func note(_ done: Int, of total: Int) {
    fellBack = fellBack || done < last.done
    last = (done, total)
  }
}

/// Blocks at the first byte until the server should have stopped sending.
private final class SlowProgress: @unchecked Sendable {
  private let server: FileServer
  private(set) var sentByteCount = 0

  init(_ server: FileServer) { self.server = server }

  func note(_ done: Int) {
    guard sentByteCount == 0 else { return }
    usleep(1_500_000)
    sentByteCount = server.sentByteCount
  }
}
