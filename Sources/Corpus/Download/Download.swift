import Foundation
import Platform

/// A file that is fetched from the first of several addresses that gives it, and verified.
///
/// What has arrived is kept beside the file, under its name and `.part`, and the rest is asked for when the
/// connection breaks or the program is started again.
public struct Download: Sendable {
  /// Where the file may be, in the order in which to try.
  public var addresses: [URL]
  /// SHA-256 of the file, in hexadecimal digits.
  public var sha256: String
  /// How many bytes the file has, where that is known; an address that announces another length is passed over.
  public var byteCount: Int?
  /// What the user can do where no address gives the file; ends the message.
  public var advice: String
  /// Seconds without a byte after which a connection counts as broken.
  public var patience: Double
  /// How often an address is tried again after a broken connection that brought nothing new.
  public var retryCount: Int

  /// A download; nothing happens before `fetch`.
  public init(
    addresses: [URL], sha256: String, byteCount: Int? = nil, advice: String = "try again later",
    patience: Double = 30, retryCount: Int = 3
  ) {
    self.addresses = addresses
    self.sha256 = sha256.lowercased()
    self.byteCount = byteCount
    self.advice = advice
    self.patience = patience
    self.retryCount = retryCount
  }

  /// Fetches the file, or takes it as it is if it is there and whole.
  ///
  /// - Parameter progress: called with the bytes that are there and all there will be (0 while unknown), from one
  ///   thread at a time.
  /// - Throws: `MilmError` with one line that says of every address why it gave nothing.
  public func fetch(to file: URL, progress: @escaping @Sendable (Int, Int) -> Void = { _, _ in }) throws {
    if FileManager.default.fileExists(atPath: file.path) { return try verify(file) }
    var reasons: [String] = []
    for address in addresses {
      do {
        try fetch(from: address, part: file.appendingPathExtension("part"), progress: progress)
        try FileManager.default.moveItem(at: file.appendingPathExtension("part"), to: file)
        return
      } catch let reason as MilmError {
        reasons.append("\(address.absoluteString): \(reason)")
      }
    }
    throw MilmError(
      "cannot download \(file.lastPathComponent): \(reasons.joined(separator: "; ")); \(advice)")
  }

  /// Compares a file with the digest it should have.
  public func verify(_ file: URL) throws {
    let found = try FileDigest(ofFile: file.path, followsLinks: true).sha256
    guard found == sha256 else {
      throw MilmError("expected SHA-256 \(sha256) of \(file.relativePath), found \(found)")
    }
  }

  private func fetch(
    from address: URL, part: URL, progress: @escaping @Sendable (Int, Int) -> Void
  ) throws {
    let isContinued = PartialFile.byteCount(part) > 0
    try fetchAll(from: address, part: part, progress: progress)
    do {
      try verify(part)
    } catch {
      try FileManager.default.removeItem(at: part)
      // The beginning was another address's or an older file's: that says nothing about this address.
      guard isContinued else { throw error }
      try fetch(from: address, part: part, progress: progress)
    }
  }

  /// Asks for what is missing until nothing is, or until several attempts in a row bring nothing.
  private func fetchAll(
    from address: URL, part: URL, progress: @escaping @Sendable (Int, Int) -> Void
  ) throws {
    var vainCount = 0
    while true {
      let before = PartialFile.byteCount(part)
      let transfer = try HTTPTransfer(
        address, into: PartialFile(part), wantedByteCount: byteCount, patience: patience, progress: progress)
      switch transfer.run() {
      case .whole: return
      case .refused(let reason): throw MilmError(reason)
      case .broken(let reason):
        vainCount = PartialFile.byteCount(part) > before ? 0 : vainCount + 1
        guard vainCount <= retryCount else { throw MilmError(reason) }
        Thread.sleep(forTimeInterval: 0.1 * pow(4, Double(vainCount)))
      }
    }
  }
}

/// A file that grows at its end while it is fetched.
final class PartialFile {
  private let handle: FileHandle
  private let name: String
  private(set) var byteCount: Int

  init(_ url: URL) throws {
    name = url.relativePath
    let descriptor = open(url.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw MilmError(name, cannot: "write") }
    handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      throw MilmError("expected nobody else to write \(name), found it locked by another process")
    }
    byteCount = Int(try handle.seekToEnd())
  }

  static func byteCount(_ url: URL) -> Int {
    var status = stat()
    return stat(url.path, &status) == 0 ? Int(status.st_size) : 0
  }

  func append(_ data: Data) throws {
    do {
      try handle.write(contentsOf: data)
    } catch {
      throw MilmError("cannot write \(name): \(error.localizedDescription)")
    }
    byteCount += data.count
  }

  /// Lets go of the file; nothing may be appended any more.
  func close() { try? handle.close() }

  func startAnew() throws {
    try handle.truncate(atOffset: 0)
    try handle.seek(toOffset: 0)
    byteCount = 0
  }
}
