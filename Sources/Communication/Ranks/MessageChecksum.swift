import Platform

/// A test's fault: changes bytes that a rank has received, before they are checked.
///
/// Called with the operation, sender and receiver, and the bytes, on the thread that receives them.
package typealias ReceptionFault =
  @Sendable (
    _ operation: MessageTag, _ sender: Int, _ receiver: Int, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Void

/// The XXH64 that follows a message whose bytes have no checksum of their own.
///
/// Such messages have no second copy on the receiver: shards on their way to a checkpoint, carried state, sums, control
/// messages. TCP's own 16-bit sum misses some errors, and shared memory has none.
struct MessageChecksum {
  private var last: (start: UnsafeRawPointer?, count: Int, value: UInt64)?

  /// The checksum of a message to be sent; one that goes to several ranks in turn is hashed once.
  mutating func value(of bytes: UnsafeRawBufferPointer) -> UInt64 {
    if let last, last.start == bytes.baseAddress, last.count == bytes.count { return last.value }
    let value = XXH64.hash(bytes)
    last = (bytes.baseAddress, bytes.count, value)
    return value
  }
}

extension Communicator {
  /// Throws where received bytes do not have the checksum that their sender computed.
  func check(
    _ bytes: UnsafeRawBufferPointer, against expected: UInt64, from sender: Int, _ operation: MessageTag
  ) throws(MilmError) {
    let found = XXH64.hash(bytes)
    guard found != expected else { return }
    let place = liveness.map { ", \($0.activity.current.text)" } ?? ""
    throw MilmError(
      "message at \(operation) from \(label(of: sender)) to \(label(of: rank))\(place): expected "
        + "\(bytes.count) bytes with checksum \(hexadecimal(expected)), found \(hexadecimal(found))")
  }
}
