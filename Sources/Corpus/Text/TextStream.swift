import Foundation
import Platform

/// The bytes of one text in order, decompressed where they are stored compressed.
final class TextStream {
  /// What a SHA-256 is made of.
  enum Hashing {
    /// The file's own bytes.
    case stored
    /// The text, of which the file holds more than one perhaps.
    case text
  }

  private let stored: StoredBytes
  private let decoder: (any StreamDecoder)?
  private let hashing: Hashing?
  private var hash = SHA256Digest()

  init(_ stored: StoredBytes, decoder: (any StreamDecoder)? = nil, hashing: Hashing? = nil) {
    self.stored = stored
    self.decoder = decoder
    self.hashing = hashing
  }

  /// How many bytes of the file itself have been taken so far.
  var storedByteCount: Int { stored.takenByteCount }

  /// Fills `buffer` from its start and returns how many bytes it got; fewer than it holds only at the end.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    var filled = 0
    while filled < buffer.count {
      let byteCount = try readSome(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
      if byteCount == 0 { break }
      filled += byteCount
    }
    if hashing == .text { update(buffer[..<filled]) }
    return filled
  }

  /// SHA-256 of the bytes taken so far, in hexadecimal digits; nil if it was not asked for.
  func digest() -> String? { hashing.map { _ in hash.hexadecimal } }

  private func readSome(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    guard let decoder else { return try readStored(into: buffer) }
    return try decoder.read(into: buffer, from: readStored)
  }

  private func readStored(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let byteCount = try stored.read(into: buffer)
    if hashing == .stored { update(buffer[..<byteCount]) }
    return byteCount
  }

  private func update(_ bytes: Slice<UnsafeMutableRawBufferPointer>) {
    hash.update(UnsafeRawBufferPointer(rebasing: bytes))
  }
}

/// A file's own bytes, or those in memory, in order.
final class StoredBytes {
  private enum Place {
    case file(FileHandle)
    case memory([UInt8])
  }

  private let name: String
  private let place: Place
  /// How many bytes there are to take at most.
  private let limit: Int
  private(set) var takenByteCount = 0

  init(name: String, memory: [UInt8]) {
    self.name = name
    place = .memory(memory)
    limit = memory.count
  }

  /// - Parameter range: the part of the file to read; nil for all of it.
  init(name: String, file: URL, range: Range<Int>? = nil) throws {
    let descriptor = open(file.path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw MilmError(name, cannot: "read") }
    self.name = name
    place = .file(FileHandle(fileDescriptor: descriptor, closeOnDealloc: true))
    limit = range?.count ?? .max
    if let range, lseek(descriptor, off_t(range.lowerBound), SEEK_SET) < 0 {
      throw MilmError(name, cannot: "read")
    }
  }

  /// Fills `buffer` from its start, with what there is at once; 0 at the end.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let room = min(buffer.count, limit - takenByteCount)
    let byteCount = try fill(UnsafeMutableRawBufferPointer(rebasing: buffer[..<room]))
    takenByteCount += byteCount
    return byteCount
  }

  private func fill(_ buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    switch place {
    case .memory(let bytes):
      let taken = bytes[takenByteCount...].prefix(buffer.count)
      buffer.copyBytes(from: taken)
      return taken.count
    case .file(let handle):
      while true {
        let byteCount = Foundation.read(handle.fileDescriptor, buffer.baseAddress, buffer.count)
        if byteCount >= 0 { return byteCount }
        guard errno == EINTR else { throw MilmError(name, cannot: "read") }
      }
    }
  }
}
