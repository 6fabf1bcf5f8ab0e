import Foundation
import Platform

/// A safetensors file of 32-bit floats; its header is verified when it is opened.
///
/// Tensors are read when they are asked for; a file that has been truncated since it was opened is an error of the read.
package final class SafetensorsFile: Sendable {
  /// The file's path.
  package let path: String
  /// The texts of `__metadata__`.
  package let metadata: [String: String]
  /// The names of the tensors, in file order.
  package let names: [String]

  private let entries: [String: SafetensorsHeader.Entry]
  private let file: OpenFile
  private let dataOffset: Int

  /// Opens the file and verifies its header against its size.
  package init(path: String) throws {
    self.path = path
    file = try OpenFile.reading(path)
    do {
      let (header, dataOffset) = try readHeader(of: file)
      self.dataOffset = dataOffset
      metadata = header.metadata
      names = header.entries.map(\.name)
      entries = Dictionary(uniqueKeysWithValues: header.entries.map { ($0.name, $0) })
    } catch let problem as SafetensorsProblem {
      throw MilmError(path, problem.description)
    }
  }

  /// Whether there is a tensor of this name.
  package func contains(_ name: String) -> Bool {
    entries[name] != nil
  }

  /// The extents of a tensor, slowest-varying first; throws if there is no tensor of this name.
  package func shape(of name: String) throws -> [Int] {
    try entry(name).shape
  }

  /// Calls `body` with a copy of a tensor's floats, row-major; throws if there is no tensor of this name.
  package func withFloats<Result>(
    of name: String, _ body: (UnsafeBufferPointer<Float>) throws -> Result
  ) throws -> Result {
    let count = try entry(name).range.count / MemoryLayout<Float>.stride
    return try withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { floats in
      try copy(name, into: floats)
      return try body(UnsafeBufferPointer(floats))
    }
  }

  /// Copies a tensor's floats into `destination`; throws if the counts differ or there is no tensor of this name.
  package func copy(_ name: String, into destination: UnsafeMutableBufferPointer<Float>) throws {
    let range = try entry(name).range
    guard range.count == destination.count * MemoryLayout<Float>.stride else {
      throw MilmError(
        path,
        "expected \(destination.count) floats in tensor \(name), "
          + "found \(range.count / MemoryLayout<Float>.stride) in shape \(try shape(of: name))")
    }
    let bytes = UnsafeMutableRawBufferPointer(destination)
    let byteCount = try file.readAll(into: bytes, at: dataOffset + range.lowerBound)
    guard byteCount == range.count else {
      throw MilmError(
        path,
        "expected \(range.count) bytes of tensor \(name), found \(byteCount): it was truncated while in use")
    }
  }

  private func entry(_ name: String) throws(MilmError) -> SafetensorsHeader.Entry {
    guard let entry = entries[name] else {
      throw MilmError(path, "expected a tensor \(name), found none of this name among \(names.count)")
    }
    return entry
  }
}

/// The verified header of a file, and where its data begins.
private func readHeader(of file: borrowing OpenFile) throws -> (header: SafetensorsHeader, dataOffset: Int) {
  let byteCount = try file.byteCount()
  let first = try file.bytes(0..<min(byteCount, SafetensorsHeader.lengthByteCount))
  guard first.count == SafetensorsHeader.lengthByteCount else {
    throw SafetensorsProblem("a safetensors file", found: "\(first.count) bytes")
  }
  let length = first.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
  let limit = min(SafetensorsHeader.maximumByteCount, byteCount - SafetensorsHeader.lengthByteCount)
  guard length <= UInt64(limit) else {
    throw SafetensorsProblem("a header of at most \(limit) bytes", found: "\(length)")
  }
  let dataOffset = SafetensorsHeader.lengthByteCount + Int(length)
  let json = try file.bytes(SafetensorsHeader.lengthByteCount..<dataOffset)
  let header = try json.withUnsafeBytes {
    try SafetensorsHeader(parsing: $0, dataByteCount: byteCount - dataOffset)
  }
  return (header, dataOffset)
}

extension OpenFile {
  /// Some bytes of the file, fewer at its end.
  fileprivate borrowing func bytes(_ range: Range<Int>) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: range.count) { buffer, initializedCount in
      let bytes = UnsafeMutableRawBufferPointer(
        rebasing: UnsafeMutableRawBufferPointer(buffer)[..<range.count])
      initializedCount = try readAll(into: bytes, at: range.lowerBound)
    }
  }
}

/// A named tensor in the caller's memory, which must not change until the file is written.
package struct TensorBytes {
  /// The tensor's name in the file.
  package let name: String
  /// Extents, slowest-varying first; empty for a scalar.
  package let shape: [Int]
  /// The 32-bit floats of the tensor, row-major, little-endian.
  package let bytes: UnsafeRawBufferPointer

  /// A tensor over `floats`, whose count is the product of `shape`.
  package init(name: String, shape: [Int], floats: UnsafeBufferPointer<Float>) {
    self.init(name: name, shape: shape, bytes: UnsafeRawBufferPointer(floats))
  }

  /// A tensor over `bytes`, four per element of `shape`.
  package init(name: String, shape: [Int], bytes: UnsafeRawBufferPointer) {
    precondition(
      shape.reduce(MemoryLayout<Float>.stride, *) == bytes.count,
      "tensor \(name) of shape \(shape) has \(bytes.count) bytes")
    self.name = name
    self.shape = shape
    self.bytes = bytes
  }
}

/// Writes tensors as a new safetensors file at `path` and returns its digest once it is on disk.
///
/// The tensors are read in place, once, and written in the given order. On an error, nothing is left at `path`.
@discardableResult
package func writeSafetensors(
  _ tensors: [TensorBytes], metadata: [String: String] = [:], to path: String
) throws -> FileDigest {
  var file = try DigestingFile(creating: path)
  do {
    let header = SafetensorsHeader(laying: tensors, metadata: metadata)
    try header.encoded().withUnsafeBytes { try file.write($0) }
    for tensor in tensors {
      try file.write(tensor.bytes)
    }
    return try file.finish()
  } catch {
    unlink(path)
    throw error
  }
}
