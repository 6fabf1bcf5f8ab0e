import Platform
import Tensors

/// How the values of a frame are coded.
struct FrameFormat: Sendable {
  let codec: Codec
  /// Values that share a scale, for codecs with scales.
  let blockLength: Int
}

/// The frames that one rank sends to another at once, in a slot of a `FrameChannel`.
///
/// `@unchecked Sendable`: the slot is not written to before the message is sent or decoded.
struct FrameMessage: @unchecked Sendable {
  fileprivate(set) var bytes = UnsafeRawBufferPointer(start: nil, count: 0)
  /// How many values the frames of a message to be sent hold.
  fileprivate(set) var elementCount = 0
}

/// Frames to and from fixed peers: how dense, sparse and sharded exchange send and receive floats.
///
/// A channel owns the slots its messages lie in, labels frames with operation and sender, counts what is sent, and names the
/// sender of a frame that is not the expected one. Slots come in sets: messages of one can be coded while those of another
/// are sent.
///
/// `@unchecked Sendable`: the user of a channel ensures that one thread at a time uses a set, and one its coder.
final class FrameChannel: @unchecked Sendable {
  /// The ranks that exchange frames over this channel, this one among them, in the order of messages.
  let peers: [Int]
  private let communicator: any Communicator
  private let coder: FrameCoder
  private let outgoing: [FrameSlots]
  private let incoming: [FrameSlots]

  /// A channel for messages of frames of at most `frameElementCounts` values; `outgoingCount` is the number of different
  /// messages sent at once, at most one per peer.
  init(
    _ communicator: any Communicator, peers: [Int], coder: FrameCoder, frameElementCounts: [Int],
    outgoingCount: Int? = nil, setCount: Int = 1, in arena: Arena
  ) {
    self.communicator = communicator
    self.peers = peers
    self.coder = coder
    let byteCount = frameElementCounts.reduce(0) { $0 + FrameCoder.frameCapacity(elementCount: $1) }
    func slots(_ count: Int) -> [FrameSlots] {
      (0..<setCount).map { _ in FrameSlots(count, byteCount: byteCount, in: arena) }
    }
    outgoing = slots(outgoingCount ?? peers.count)
    incoming = slots(peers.count)
  }

  /// The peers other than this rank.
  var otherCount: Int { max(peers.count - 1, 0) }

  /// Encodes values as the next frame of a message in an outgoing slot.
  ///
  /// `decoded` receives the decoded values. Long sections are compressed where that is worthwhile at this `price`.
  func encode(
    _ values: UnsafePointer<Float>, count: Int, as format: FrameFormat, _ operation: MessageTag,
    into slot: Int, set: Int = 0, after message: FrameMessage = FrameMessage(),
    feedback: ErrorFeedback? = nil, decoded: UnsafeMutablePointer<Float>? = nil, price: WirePrice
  ) throws -> FrameMessage {
    let frame = FrameDescription(
      codec: format.codec, operation: operation, sender: communicator.rank, elementCount: count,
      blockLength: format.blockLength)
    let room = outgoing[set][slot]
    let start = message.bytes.count
    let byteCount = try coder.encode(
      values, as: frame, feedback: feedback, into: UnsafeMutableRawBufferPointer(rebasing: room[start...]),
      decoded: decoded, price: price)
    return FrameMessage(
      bytes: UnsafeRawBufferPointer(rebasing: room[..<(start + byteCount)]),
      elementCount: message.elementCount + count)
  }

  /// Sends a message to each other peer and receives one from each, in the order of peers; this rank's own is ignored.
  ///
  /// Received messages stay valid until the next exchange with the same set.
  func exchange(
    _ operation: MessageTag, _ messages: [FrameMessage], set: Int = 0, limits: StallLimits?,
    report: inout ExchangeReport
  ) throws -> [FrameMessage] {
    for (peer, message) in zip(peers, messages) where peer != communicator.rank {
      report.rawByteCount += MemoryLayout<Float>.stride * message.elementCount
      report.wireByteCount += message.bytes.count
      report.trace?.note(operation, addingSentByteCount: message.bytes.count)
    }
    return try report.timing(.wire) { _ in
      let slots = peers.indices.map { incoming[set][$0] }
      let byteCounts = try communicator.exchange(
        operation.checkingItsBytes, with: peers, outgoing: messages.map(\.bytes), incoming: slots,
        limits: limits)
      return zip(slots, byteCounts).map {
        FrameMessage(bytes: UnsafeRawBufferPointer(rebasing: $0[..<$1]))
      }
    }
  }

  /// Decodes the only frame of a message into `values`, and returns how many it holds.
  @discardableResult
  func decode(
    _ message: FrameMessage, from sender: Int, as format: FrameFormat, _ operation: MessageTag,
    elementCounts: ClosedRange<Int>, into values: UnsafeMutablePointer<Float>
  ) throws -> Int {
    let expectation = FrameExpectation(
      codec: format.codec, operation: operation, sender: sender, elementCounts: elementCounts,
      blockLength: format.blockLength)
    do {
      return try coder.decode(message.bytes, expecting: expectation, into: values)
    } catch {
      throw refusal("\(error)", from: sender, operation)
    }
  }

  /// Splits the first of several frames off a message; its header states its length.
  func removeFirstFrame(
    of message: inout FrameMessage, from sender: Int, _ operation: MessageTag
  ) throws -> FrameMessage {
    guard let end = FrameHeader.frameByteCount(atFrontOf: message.bytes) else {
      throw refusal(
        "expected several frames, found \(message.bytes.count) bytes without a whole one", from: sender,
        operation)
    }
    defer { message.bytes = UnsafeRawBufferPointer(rebasing: message.bytes[end...]) }
    return FrameMessage(bytes: UnsafeRawBufferPointer(rebasing: message.bytes[..<end]))
  }

  /// The error of a frame that is not as expected.
  func refusal(_ reason: String, from sender: Int, _ operation: MessageTag) -> MilmError {
    MilmError("frame from \(communicator.label(of: sender)) at \(operation): \(reason)")
  }
}

/// Room for some messages of equal size.
private struct FrameSlots {
  private let memory: AlignedBuffer
  private let slotByteCount: Int

  init(_ count: Int, byteCount: Int, in arena: Arena) {
    // Whole cache lines.
    slotByteCount = (byteCount + 63) & ~63
    memory = AlignedBuffer(byteCount: slotByteCount * count, in: arena)
  }

  subscript(number: Int) -> UnsafeMutableRawBufferPointer {
    memory.bytes(from: number * slotByteCount, byteCount: slotByteCount)
  }
}
