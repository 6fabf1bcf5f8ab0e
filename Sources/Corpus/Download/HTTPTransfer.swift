import Dispatch
import Foundation
import Platform

#if canImport(FoundationNetworking)
  import FoundationNetworking
#endif

/// One HTTP request for the missing end of a file.
///
/// `@unchecked Sendable`: the session's queue runs one call at a time, and `run` reads only after the last one.
final class HTTPTransfer: NSObject, URLSessionDataDelegate, @unchecked Sendable {
  /// How a request ended.
  enum Outcome {
    /// The file has the length that the server announced.
    case whole
    /// The connection broke; a retry may succeed.
    case broken(String)
    /// The server does not have the file, or has a different one.
    case refused(String)
  }

  private let address: URL
  private let file: PartialFile
  private let wantedByteCount: Int?
  private let timeoutSeconds: Double
  private let progress: (Int, Int) -> Void
  private let finished = DispatchSemaphore(value: 0)
  private var totalByteCount: Int?
  /// An outcome that is known before the task ends, which is then cancelled.
  private var early: Outcome?
  private var outcome = Outcome.broken("no response")

  /// - Parameter wantedByteCount: the expected length of the whole file, if known.
  init(
    _ address: URL, into file: PartialFile, wantedByteCount: Int?, timeoutSeconds: Double,
    progress: @escaping (Int, Int) -> Void
  ) {
    self.address = address
    self.file = file
    self.wantedByteCount = wantedByteCount
    self.timeoutSeconds = timeoutSeconds
    self.progress = progress
  }

  /// Sends the request and waits for its end, then releases the file.
  func run() -> Outcome {
    // The session may retain its delegate, and so the file's lock, for longer.
    defer { file.release() }
    let configuration = URLSessionConfiguration.ephemeral
    configuration.timeoutIntervalForRequest = timeoutSeconds
    let queue = OperationQueue()
    queue.maxConcurrentOperationCount = 1
    let session = URLSession(configuration: configuration, delegate: self, delegateQueue: queue)
    var request = URLRequest(url: address)
    request.setValue("identity", forHTTPHeaderField: "Accept-Encoding")
    if file.byteCount > 0 { request.setValue("bytes=\(file.byteCount)-", forHTTPHeaderField: "Range") }
    session.dataTask(with: request).resume()
    finished.wait()
    session.finishTasksAndInvalidate()
    return outcome
  }

  func urlSession(
    _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
    completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
  ) {
    do {
      early = try begin(response)
      completionHandler(early == nil ? .allow : .cancel)
    } catch {
      early = .refused("\(error)")
      completionHandler(.cancel)
    }
  }

  func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
    guard early == nil else { return }
    do {
      if let limit = totalByteCount ?? wantedByteCount, file.byteCount + data.count > limit {
        throw MilmError("expected \(limit) bytes, found more")
      }
      try file.append(data)
      progress(file.byteCount, totalByteCount ?? 0)
    } catch {
      early = .refused("\(error)")
      dataTask.cancel()
    }
  }

  func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
    outcome = early ?? ended(with: error)
    finished.signal()
  }

  private func ended(with error: (any Error)?) -> Outcome {
    if let error {
      // A retry would not help.
      let isHopeless = [.cannotFindHost, .unsupportedURL, .badURL].contains((error as? URLError)?.code)
      return isHopeless ? .refused(error.localizedDescription) : .broken(error.localizedDescription)
    }
    if let totalByteCount, file.byteCount < totalByteCount {
      return .broken("the connection broke after \(file.byteCount) of \(totalByteCount) bytes")
    }
    return .whole
  }

  /// Evaluates the response head: the body continues the file, or is all of it.
  ///
  /// - Returns: the outcome, if there is no body to wait for.
  private func begin(_ response: URLResponse) throws -> Outcome? {
    guard let response = response as? HTTPURLResponse else { throw MilmError("expected an HTTP server") }
    let announced = Int(response.expectedContentLength)
    switch response.statusCode {
    case 200:
      try file.restart()
      totalByteCount = announced >= 0 ? announced : nil
    case 206:
      // "bytes 100-199/200"; the total may be "*".
      let range = (response.value(forHTTPHeaderField: "Content-Range") ?? "").split { " -/".contains($0) }
      guard range.count == 4, Int(range[1]) == file.byteCount else {
        throw MilmError("expected the bytes from \(file.byteCount) on, found others")
      }
      totalByteCount = Int(range[3])
    case 416:
      // The server's file ends where ours does, or before; the digest decides.
      return .whole
    case 500...599:
      return .broken("HTTP status \(response.statusCode)")
    default:
      throw MilmError("HTTP status \(response.statusCode)")
    }
    if let wantedByteCount, let totalByteCount, totalByteCount != wantedByteCount {
      throw MilmError("expected a file of \(wantedByteCount) bytes, found one of \(totalByteCount)")
    }
    return nil
  }
}
