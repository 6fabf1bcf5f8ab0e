import Foundation
import Platform
import SwiftProtobuf

/// The event file of one process in a run's `tensorboard` directory: scalars by tag and step.
///
/// TensorBoard reads the files of a directory in the order of their names. Each begins with a session start, which
/// expires the events of earlier files from its step on, so that a resumed run shows nothing twice.
struct EventFile: ~Copyable {
  private let file: OpenFile
  private let now: @Sendable () -> Date

  /// Begins a file in `directory` that expires earlier events of `step` and later; at step 0 earlier files are removed.
  init(directory: String, expiringFromStep step: Int, now: @escaping @Sendable () -> Date = { Date() }) throws
  {
    try makeDirectories(directory)
    var earlier = try directoryEntries(directory).filter { $0.hasPrefix(Self.prefix) }
    if step == 0 {
      for name in earlier { unlink("\(directory)/\(name)") }
      earlier = []
    }
    // The name must sort after the others even if the clock was set back.
    let newest = earlier.compactMap(Self.second).max() ?? 0
    let second = max(Int(now().timeIntervalSince1970), newest + 1)
    let host = Host.name
    let file = try OpenFile.appending(
      "\(directory)/\(Self.prefix)\(String(format: "%010d", second)).\(host).\(getpid()).milm")
    let version = try Self.record(step: 0, now()) { $0.fileVersion = "brain.Event:2" }
    let start = try Self.record(step: step, now()) { $0.sessionLog = .with { $0.status = .start } }
    try file.append(version + start)
    self.file = file
    self.now = now
  }

  /// Appends the scalars of a step.
  func append(step: Int, _ values: [(tag: String, value: Double)]) throws {
    let record = try Self.record(step: step, now()) { event in
      event.summary = .with { summary in
        summary.value = values.map { tag, value in
          .with {
            $0.tag = tag
            $0.simpleValue = Float(value)
          }
        }
      }
    }
    try file.append(record)
  }

  private static func record(
    step: Int, _ time: Date, _ fill: (inout EventFileEvent) -> Void
  ) throws -> [UInt8] {
    var event = EventFileEvent()
    event.wallTime = time.timeIntervalSince1970
    event.step = Int64(step)
    fill(&event)
    return RecordFrame.bytes(of: try event.serializedBytes())
  }

  private static let prefix = "events.out.tfevents."

  private static func second(of name: String) -> Int? {
    // Ten digits, as this program writes them; longer numbers sort elsewhere anyway.
    Int(name.dropFirst(prefix.count).prefix { $0.isNumber }).flatMap { $0 < 9_999_999_999 ? $0 : nil }
  }
}

/// The framing of TensorFlow's record files: length, checksum, content, checksum, all little-endian.
private enum RecordFrame {
  /// `content` as one record.
  static func bytes(of content: [UInt8]) -> [UInt8] {
    let length = littleEndian(UInt64(content.count))
    return length + littleEndian(maskedChecksum(length)) + content + littleEndian(maskedChecksum(content))
  }

  /// The CRC-32C, rotated and offset: the format masks it because records may hold checksums themselves.
  private static func maskedChecksum(_ bytes: [UInt8]) -> UInt32 {
    let checksum = checksum(bytes)
    return (checksum >> 15 | checksum << 17) &+ 0xA282_EAD8
  }

  /// CRC-32C (Castagnoli).
  private static func checksum(_ bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(~0) { table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 }
  }

  private static let table: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0x82F6_3B78 : value >> 1 }
  }

  private static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }
}
