import Dispatch
import Foundation
import Platform
import Synchronization

#if canImport(FoundationNetworking)
  import FoundationNetworking
#endif

/// One HTTP request for the missing end of a file.
///
/// Memory is bounded: the server waits while data that has been received is being written.
///
/// `@unchecked Sendable`: the session's queue runs one call at a time, and `run` reads only after the last one, except
/// for what mutexes guard.
final class HTTPTransfer: NSObject, URLSessionDataDelegate, @unchecked Sendable {
  /// How a request ended.
  enum Outcome {
    /// The file has the length that the server announced.
    case whole
    /// The connection broke; a retry may succeed.
    case broken(String)
    /// The server does not have the file, has a different one, or is too slow.
    case refused(String)
  }

  private let address: URL
  private let file: PartialFile
  private let wantedByteCount: Int?
  private let timeoutSeconds: Double
  private let paceOfAddress: Mutex<TransferPace>
  /// The limit that the server missed, once the transfer is aborted.
  private let slowness = Mutex<String?>(nil)
  private let progress: (Int, Int) -> Void
  private let finished = DispatchSemaphore(value: 0)
  private var totalByteCount: Int?
  /// An outcome that is known before the task ends, which is then cancelled.
  private var early: Outcome?
  private var outcome = Outcome.broken("no response")

  /// - Parameter wantedByteCount: the expected length of the whole file, if known.
  init(
    _ address: URL, into file: PartialFile, wantedByteCount: Int?, pace: TransferPace,
    progress: @escaping (Int, Int) -> Void
  ) {
    self.address = address
    self.file = file
    self.wantedByteCount = wantedByteCount
    timeoutSeconds = pace.limits.seconds
    paceOfAddress = Mutex(pace)
    self.progress = progress
  }

  /// The pace of the address, with what this request has added to it.
  var pace: TransferPace { paceOfAddress.withLock { $0 } }

  /// Sends the request and waits for its end, then releases the file.
  func run() -> Outcome {
    // The session may retain its delegate, and so the file's lock, for longer.
    defer { file.release() }
    let configuration = URLSessionConfiguration.ephemeral
    configuration.timeoutIntervalForRequest = timeoutSeconds
    let session = URLSession(configuration: configuration, delegate: self, delegateQueue: BoundedQueue())
    var request = URLRequest(url: address)
    request.setValue("identity", forHTTPHeaderField: "Accept-Encoding")
    if file.byteCount > 0 { request.setValue("bytes=\(file.byteCount)-", forHTTPHeaderField: "Range") }
    paceOfAddress.withLock { $0.begin() }
    let task = session.dataTask(with: request)
    task.resume()
    while finished.wait(timeout: .now() + .milliseconds(100)) == .timedOut {
      abortIfBelowMinimumThroughput(task)
    }
    session.finishTasksAndInvalidate()
    return outcome
  }

  private func abortIfBelowMinimumThroughput(_ task: URLSessionDataTask) {
    guard let fault = paceOfAddress.withLock({ $0.fault() }) else { return }
    slowness.withLock { $0 = fault }
    task.cancel()
  }

  func urlSession(
    _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
    completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
  ) {
    paceOfAddress.withLock { $0.noteHeaders() }
    do {
      early = try begin(response)
    } catch {
      early = .refused("\(error)")
    }
    completionHandler(early == nil ? .allow : .cancel)
    // On Linux the answer is ignored, and the body would still be fetched.
    if early != nil { dataTask.cancel() }
  }

  func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
    guard early == nil else { return }
    paceOfAddress.withLock { $0.note(byteCount: data.count) }
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
    if let slowness = slowness.withLock({ $0 }) { return .refused(slowness) }
    if let error {
      if !pace.hasHeaders, (error as? URLError)?.code == .timedOut { return .refused(pace.headersAreMissing) }
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

/// Runs the session's calls one at a time; the session waits while many are pending, and the server then waits too.
///
/// `@unchecked Sendable`: nothing but the semaphore is added to a queue.
private final class BoundedQueue: OperationQueue, @unchecked Sendable {
  /// A call has at most 16 KiB of data.
  private static let capacity = 256
  private let room = DispatchSemaphore(value: 0)

  override init() {
    super.init()
    maxConcurrentOperationCount = 1
    for _ in 0..<Self.capacity { room.signal() }
  }

  override func addOperation(_ block: @escaping @Sendable () -> Void) {
    room.wait()
    super.addOperation { [room] in
      block()
      room.signal()
    }
  }
}
