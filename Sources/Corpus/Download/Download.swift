import Foundation
import Platform

/// A file to fetch from the first of several addresses that serves it, and to verify.
///
/// Received bytes are kept beside the file in `NAME.part`; the download resumes there after a broken connection or
/// a restart of the program.
package struct Download: Sendable {
  /// Addresses of the file, in the order in which to try them.
  package var addresses: [URL]
  /// SHA-256 of the file, in hexadecimal digits.
  package var sha256: String
  /// The file's length, if known; an address that announces another length is skipped.
  package var byteCount: Int?
  /// Advice for the user if no address serves the file; ends the message.
  package var advice: String
  /// Seconds without a byte after which a connection counts as broken, without complete headers after which the
  /// address is given up, and between judgements of its throughput.
  package var timeoutSeconds: Double
  /// The throughput below which an address is given up, in bytes per second.
  package var minimumBytesPerSecond: Double
  /// Retries of an address after broken connections that brought nothing new.
  package var retryCount: Int

  /// The most threads that a request has been seen to need at once, and some more.
  private static let threadCount = 8

  /// A download; nothing happens before `fetch`.
  package init(
    addresses: [URL], sha256: String, byteCount: Int? = nil, advice: String = "try again later",
    timeoutSeconds: Double = 30, minimumBytesPerSecond: Double = 10_000, retryCount: Int = 3
  ) {
    self.addresses = addresses
    self.sha256 = sha256.lowercased()
    self.byteCount = byteCount
    self.advice = advice
    self.timeoutSeconds = timeoutSeconds
    self.minimumBytesPerSecond = minimumBytesPerSecond
    self.retryCount = retryCount
  }

  /// Fetches the file, unless it is there; verifies it either way.
  ///
  /// - Parameter progress: called with the bytes received and the total (0 while unknown), from one thread at a
  ///   time.
  /// - Throws: one line that gives the reason for every address.
  package func fetch(to file: URL, progress: @escaping @Sendable (Int, Int) -> Void = { _, _ in }) throws {
    if FileManager.default.fileExists(atPath: file.path) { return try verify(file) }
    // URLSession and its resolver start them, and wait forever where the system refuses one.
    try SystemThread.require(Self.threadCount, for: "download")
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

  /// Throws if a file does not have the expected digest.
  package func verify(_ file: URL) throws {
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
      // The beginning came from another address or an older file, so this address is tried once more.
      guard isContinued else { throw error }
      try fetch(from: address, part: part, progress: progress)
    }
  }

  /// Requests what is missing until the file is complete, or until several attempts in a row receive nothing.
  private func fetchAll(
    from address: URL, part: URL, progress: @escaping @Sendable (Int, Int) -> Void
  ) throws {
    var fruitlessCount = 0
    var pace = TransferPace(.init(seconds: timeoutSeconds, bytesPerSecond: minimumBytesPerSecond))
    while true {
      let before = PartialFile.byteCount(part)
      let transfer = try HTTPTransfer(
        address, into: PartialFile(part), wantedByteCount: byteCount, pace: pace, progress: progress)
      let outcome = transfer.run()
      pace = transfer.pace
      switch outcome {
      case .whole: return
      case .refused(let reason): throw MilmError(reason)
      case .broken(let reason):
        if let fault = pace.fault() { throw MilmError(fault) }
        fruitlessCount = PartialFile.byteCount(part) > before ? 0 : fruitlessCount + 1
        guard fruitlessCount <= retryCount else { throw MilmError(reason) }
        Thread.sleep(forTimeInterval: 0.1 * pow(4, Double(fruitlessCount)))
      }
    }
  }
}

/// A file that grows while it is fetched, locked against other processes.
final class PartialFile {
  private let file: OpenFile
  private(set) var byteCount: Int

  init(_ url: URL) throws {
    file = try OpenFile.updating(url.path)
    guard try file.lock() else {
      throw MilmError("expected exclusive access to \(url.relativePath), found it locked by another process")
    }
    byteCount = try file.byteCount()
  }

  static func byteCount(_ url: URL) -> Int {
    var status = stat()
    return stat(url.path, &status) == 0 ? Int(status.st_size) : 0
  }

  func append(_ data: Data) throws {
    try data.withUnsafeBytes { try file.write($0, at: byteCount) }
    byteCount += data.count
  }

  func restart() throws {
    try file.truncate(to: 0)
    byteCount = 0
  }

  /// Releases the lock; nothing may be appended after that.
  func release() { file.unlock() }
}
