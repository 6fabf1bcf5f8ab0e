import Crypto
import Foundation

/// The bytes of one text in order, decompressed where they are stored compressed.
final class TextStream {
  private let stored: StoredBytes
  private let decoder: ZstdDecoder?

  init(_ stored: StoredBytes, decoder: ZstdDecoder?) {
    self.stored = stored
    self.decoder = decoder
  }

  /// How many bytes of the file itself have been taken so far.
  var storedByteCount: Int { stored.takenByteCount }

  /// Fills `buffer` from its start and returns how many bytes it got; 0 at the end of the text.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    guard let decoder else { return try stored.read(into: buffer) }
    return try decoder.read(into: buffer) { try stored.read(into: $0) }
  }

  /// SHA-256 of the stored bytes taken so far, in hexadecimal digits; nil if it was not asked for.
  func digest() -> String? { stored.digest() }
}

/// A file's own bytes, or those in memory, in order, hashed as they pass.
final class StoredBytes {
  private enum Place {
    case file(FileHandle)
    case memory([UInt8])
  }

  private let name: String
  private let place: Place
  private var hash: SHA256?
  private(set) var takenByteCount = 0

  init(name: String, memory: [UInt8], hashing: Bool) {
    self.name = name
    place = .memory(memory)
    hash = hashing ? SHA256() : nil
  }

  init(name: String, file: URL, hashing: Bool) throws {
    let descriptor = open(file.path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw CorpusError.system("read", name) }
    self.name = name
    place = .file(FileHandle(fileDescriptor: descriptor, closeOnDealloc: true))
    hash = hashing ? SHA256() : nil
  }

  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let byteCount = try fill(buffer)
    takenByteCount += byteCount
    hash?.update(bufferPointer: UnsafeRawBufferPointer(rebasing: buffer[..<byteCount]))
    return byteCount
  }

  func digest() -> String? {
    hash.map { $0.finalize().map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() }
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
        guard errno == EINTR else { throw CorpusError.system("read", name) }
      }
    }
  }
}
