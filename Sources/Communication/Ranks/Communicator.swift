import Platform
import Synchronization

/// A group of ranks that run the same operations in the same order.
///
/// Messages of two communicators over the same ranks never mix. One thread uses a communicator at a time.
/// After an operation has thrown, the communicator must not be used any more: what the other ranks received is unknown.
package protocol Communicator: AnyObject, Sendable {
  /// This rank, from 0.
  var rank: Int { get }
  var rankCount: Int { get }
  /// The name of the host each rank runs on, by rank, for display: `layout` says which ranks share a host.
  var hostNames: [String] { get }
  /// The number each rank has in the whole job, by rank: messages name ranks by it.
  var jobRanks: [Int] { get }

  /// Which ranks share memory.
  var layout: NodeLayout { get }
  /// Heartbeats of the ranks; nil where they share a process.
  var liveness: (any Liveness)? { get }

  /// Sends one blob to each other of `peers` and receives one from each; returns the byte counts received.
  ///
  /// A checksum follows each blob unless the operation `checksItsBytes` itself: an error names operation and sender.
  /// Exactly the ranks of `peers` call it, all with the same `peers`. All arrays have an entry for each peer; this rank's own
  /// is ignored, its count is 0. `incoming` gives capacities; a longer blob is an error.
  func exchange(
    _ operation: MessageTag, with peers: [Int], outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int]

  /// Memory shared by `ranks`, which are on one node: `byteCount` for each, initially zero.
  ///
  /// All ranks of the communicator call it at the same time, each with the group it is in. A later call may return the
  /// same memory.
  func shareMemory(among ranks: [Int], byteCount: Int) throws -> SharedMemory

  /// Copies `bytes` of rank `root` over those of all others, which check them; their count must be the same everywhere.
  func broadcast(_ operation: MessageTag, _ bytes: UnsafeMutableRawBufferPointer, from root: Int)
    throws

  /// A communicator over the ranks that pass the same `color`, in the order of this one.
  ///
  /// All ranks of this communicator call it at the same time. Messages of the two never mix; the thread that uses this
  /// communicator uses both.
  func split(color: Int) throws -> any Communicator

  /// Sums values over all ranks in place, as the transport does it: the baseline of the compressed all-reduce.
  func transportSum(_ values: UnsafeMutableBufferPointer<Float>) throws

  /// Ends the job on all ranks, with `message` as the reason; may be called from any thread.
  func abort(_ message: String)
}

extension Communicator {
  /// Sends one blob to each other rank and receives one from each; returns the byte counts received, by rank.
  package func exchange(
    _ operation: MessageTag, outgoing: [UnsafeRawBufferPointer],
    incoming: [UnsafeMutableRawBufferPointer], limits: StallLimits?
  ) throws -> [Int] {
    try exchange(
      operation, with: Array(0..<rankCount), outgoing: outgoing, incoming: incoming, limits: limits)
  }

  /// The ranks that pass the same `color` as this one; all ranks call it.
  func ranks(ofColor color: Int) throws -> [Int] {
    let own = UInt64(bitPattern: Int64(color))
    let colors = try allGatherValues("split the communicator", [own]).map { $0[0] }
    return colors.indices.filter { colors[$0] == own }
  }

  /// Starts to watch an operation for stalls.
  func watch(_ operation: MessageTag, _ limits: StallLimits?) -> StallWatch {
    StallWatch(limits, operation: operation, rank: rank, label: label(of:), liveness: liveness)
  }

  /// As in "rank 2 (node-b)", by its number in the whole job.
  package func label(of rank: Int) -> String {
    "rank \(jobRanks[rank]) (\(hostNames[rank]))"
  }
}

/// A communicator that passes every call to another one; a conforming type overrides what it changes.
package protocol CommunicatorWrapper: Communicator {
  /// The communicator that is called.
  var base: any Communicator { get }
}

extension CommunicatorWrapper {
  package var rank: Int { base.rank }
  package var rankCount: Int { base.rankCount }
  package var hostNames: [String] { base.hostNames }
  package var jobRanks: [Int] { base.jobRanks }
  package var layout: NodeLayout { base.layout }
  package var liveness: (any Liveness)? { base.liveness }

  package func shareMemory(among ranks: [Int], byteCount: Int) throws -> SharedMemory {
    try base.shareMemory(among: ranks, byteCount: byteCount)
  }

  package func broadcast(
    _ operation: MessageTag, _ bytes: UnsafeMutableRawBufferPointer, from root: Int
  ) throws {
    try base.broadcast(operation, bytes, from: root)
  }

  package func transportSum(_ values: UnsafeMutableBufferPointer<Float>) throws {
    try base.transportSum(values)
  }

  package func abort(_ message: String) { base.abort(message) }
}

/// Identifies an operation of several ranks: by name in error messages, by number in frames.
package struct MessageTag: Sendable, Hashable, CustomStringConvertible {
  /// The phase of a step an operation belongs to; frames hold its raw value.
  package enum Phase: UInt8, Sendable {
    /// Not part of a gradient exchange: start, checkpoint, evaluation.
    case control = 0
    /// Every rank sends each owner its chunk.
    case reduce = 1
    /// Every owner sends the mean of its chunk to all.
    case distribute = 2
    /// The row numbers of a gradient that touches few rows.
    case rowIdentifiers = 3
    /// The rows of a gradient that touches few rows.
    case rows = 4
    /// The ranks of a node synchronize their shared memory.
    case node = 5
    /// Measuring the link and the codecs.
    case probe = 6
    /// Owners of a matrix's shards exchange rows and partial results.
    case shards = 7
  }

  /// For messages: a tensor and its bucket, or the purpose of a control operation.
  package let name: String
  /// The phase of the step.
  package let phase: Phase
  /// The step of the run; 0 for control operations.
  package let step: Int
  /// The number of the bucket; 0 for control operations.
  package let index: Int
  /// Whether who receives the bytes checks them, as `FrameChannel` does, or does not use them: no checksum is added.
  package private(set) var checksItsBytes = false

  /// An operation of a step's exchange.
  package init(name: String, phase: Phase, step: Int, index: Int) {
    self.name = name
    self.phase = phase
    self.step = step
    self.index = index
  }

  /// An operation outside the exchange; `name` is its purpose, the same on all ranks.
  package static func control(_ name: String) -> MessageTag {
    MessageTag(name: name, phase: .control, step: 0, index: 0)
  }

  /// The same operation, whose receivers check the bytes themselves or do not use them.
  package var checkingItsBytes: MessageTag {
    var tag = self
    tag.checksItsBytes = true
    return tag
  }

  /// As in "step 12, embedding.weight 3/9, reduce".
  package var description: String {
    phase == .control ? "'\(name)'" : "step \(step), \(name), \(phase)"
  }
}

/// The only thread that communicates with other ranks; runs jobs one at a time, in the order they were submitted.
///
/// Every rank must submit the same collective operations in the same order. Denormal floats count as zero in jobs.
package final class CommunicationThread: Sendable {
  private let thread: JobThread
  private let failure = Mutex<(any Error)?>(nil)

  /// Starts the thread; throws where the system refuses.
  package init() throws {
    thread = try JobThread(name: "communication", flushesDenormals: true)
  }

  /// Runs `job` after all jobs submitted before it, and returns at once.
  package func submit(_ job: @escaping @Sendable () -> Void) {
    thread.submit(job)
  }

  /// Ends the use of the thread after an operation has failed in a job without a waiter: `run` throws `error`.
  ///
  /// This rank no longer runs the operations that the others run, and would take their messages for others.
  func end(because error: any Error) {
    failure.withLock { $0 = $0 ?? error }
  }

  /// Runs `job` after all jobs submitted before it, waits for it, and returns its value or throws its error.
  ///
  /// Must not be called from a job: it would wait for itself.
  package func run<Value: Sendable>(_ job: @escaping @Sendable () throws -> Value) throws -> Value {
    try thread.start { [self] in
      if let failure = failure.withLock({ $0 }) { throw failure }
      return try job()
    }.value()
  }
}
