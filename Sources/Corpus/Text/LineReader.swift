import Foundation
import Platform

/// Lines of a text that have arrived, each with its newline; all are text.
package struct LineBatch: Sendable {
  /// The number of the first line, from 1.
  package let firstLine: Int
  let bytes: [UInt8]
}

/// Reads a text line by line as it arrives, so that a program that writes one line and waits for its answer gets it.
///
/// A file may be compressed; standard input and pipes are read as they are.
package final class LineReader {
  /// A batch is given once it has this many bytes, or earlier where no more are waiting.
  private static let batchByteCount = 1 << 16
  private static let lineByteCountLimit = 1 << 26
  private static let pollMilliseconds: CInt = 100
  private static let newline = UInt8(ascii: "\n")

  private let name: String
  /// Read as it arrives; nil where `text` is read.
  private let pipe: OpenFile?
  private let text: TextStream?
  /// Bytes after the last newline of the previous batch.
  private var carry: [UInt8] = []
  private var isEnded = false
  private var lineCount = 0
  private var offset = 0
  private var fault: MilmError?

  /// A reader of the file, pipe or device at `path`; `-` is standard input.
  package init(path: String) throws {
    if path == "-" {
      pipe = try OpenFile.standardInput()
      text = nil
      name = "standard input"
      return
    }
    name = path
    if case .other = try FileEntry(at: path, followingLinks: true) {
      pipe = try OpenFile.stream(path)
      text = nil
    } else {
      let source = TextSource.file(URL(filePath: path))
      _ = try source.storedByteCount()
      let text = try source.open(hashing: false)
      offset = try text.begin(name: path)
      self.text = text
      pipe = nil
    }
  }

  /// The lines that have arrived, waiting for at least one; nil at the end of the text, or where `isStopped` while waiting.
  ///
  /// A last line without a newline counts as a line. Throws for what is not text, with the line's number, once the
  /// lines before it have been returned.
  package func next(isStopped: () -> Bool = { false }) throws -> LineBatch? {
    if let fault { throw fault }
    guard let bytes = try read(isStopped) else { return nil }
    let end = try checkedEnd(of: bytes)
    let batch = LineBatch(firstLine: lineCount + 1, bytes: Array(bytes[..<end]))
    lineCount += batch.bytes.count { $0 == Self.newline }
    offset += end
    if end == 0, let fault { throw fault }
    return batch
  }

  /// Whole lines; nil at the end or after a stop.
  private func read(_ isStopped: () -> Bool) throws -> [UInt8]? {
    var bytes = carry
    carry = []
    // The carried bytes are the beginning of a line.
    var end = 0
    while !isEnded, !isStopped() {
      if end > 0, bytes.count >= Self.batchByteCount || !isReadable(withinMilliseconds: 0) { break }
      guard isReadable(withinMilliseconds: Self.pollMilliseconds) else { continue }
      let first = bytes.count
      try append(to: &bytes)
      if let last = bytes[first...].lastIndex(of: Self.newline) { end = last + 1 }
      guard bytes.count - end <= Self.lineByteCountLimit else {
        throw MilmError(
          name,
          "expected lines of at most \(Self.lineByteCountLimit) bytes, found a longer one after line "
            + "\(lineCount + bytes[..<end].count { $0 == Self.newline })")
      }
    }
    if isEnded { end = bytes.count }
    guard end > 0 else { return nil }
    carry = Array(bytes[end...])
    return Array(bytes[..<end])
  }

  /// Appends the bytes that are there; at the end of the text the newline that its last line may lack.
  private func append(to bytes: inout [UInt8]) throws {
    let first = bytes.count
    bytes.append(contentsOf: repeatElement(0, count: Self.batchByteCount))
    let count = try bytes.withUnsafeMutableBytes { buffer in
      let free = UnsafeMutableRawBufferPointer(rebasing: buffer[first...])
      return try pipe?.read(into: free) ?? text?.read(into: free) ?? 0
    }
    bytes.removeLast(Self.batchByteCount - count)
    guard count == 0 else { return }
    isEnded = true
    if let last = bytes.last, last != Self.newline { bytes.append(Self.newline) }
  }

  private func isReadable(withinMilliseconds milliseconds: CInt) -> Bool {
    pipe?.isReadable(withinMilliseconds: milliseconds) ?? true
  }

  /// The end of the lines that are text; what is wrong with the next one is thrown by the next call.
  private func checkedEnd(of bytes: [UInt8]) throws -> Int {
    if pipe != nil, lineCount == 0, let foreign = FileSignature(bytes[...])?.pipedText {
      throw MilmError("expected text in \(name), found \(foreign)")
    }
    let found = bytes.withUnsafeBytes { TextFault(in: $0) }
    guard let found else { return bytes.count }
    let line = lineCount + bytes[..<found.offset].count { $0 == Self.newline } + 1
    fault = MilmError(
      "expected \(found.expected) in \(name), found \(found.found) in line \(line), byte \(offset + found.offset)"
    )
    return (bytes[..<found.offset].lastIndex(of: Self.newline) ?? -1) + 1
  }
}

extension FileSignature {
  /// The format that a pipe read line by line holds in place of text; nil for a byte-order mark of UTF-8.
  fileprivate var pipedText: String? {
    switch self {
    case .gzip: "gzip data; decompress it with: gzip -dc"
    case .zstd: "zstd data; decompress it with: zstd -dc"
    case .zip: "a zip archive; unpack it with: funzip"
    default: foreignText
    }
  }
}
