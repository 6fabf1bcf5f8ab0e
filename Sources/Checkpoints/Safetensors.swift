import Foundation
import Platform

/// A safetensors file of 32-bit floats, mapped into memory; its header is verified when it is opened.
///
/// The file must not be truncated while it is open: the kernel kills a process that reads beyond the end of a mapped
/// file.
///
/// `@unchecked Sendable`: `data` is a part of `file`, which is read-only and lives as long as the object.
package final class SafetensorsFile: @unchecked Sendable {
  /// The file's path.
  package let path: String
  /// The texts of `__metadata__`.
  package let metadata: [String: String]
  /// The names of the tensors, in file order.
  package let names: [String]

  private let entries: [String: SafetensorsHeader.Entry]
  private let file: MappedFile
  private let data: UnsafeRawBufferPointer

  /// Maps the file and verifies its header against its size.
  package init(path: String) throws {
    file = try MappedFile(path)
    do {
      let (header, data) = try parseSafetensors(file.bytes)
      self.path = path
      self.data = data
      metadata = header.metadata
      names = header.entries.map(\.name)
      entries = Dictionary(uniqueKeysWithValues: header.entries.map { ($0.name, $0) })
    } catch let problem {
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

  /// Calls `body` with a tensor's floats, row-major; throws if there is no tensor of this name.
  ///
  /// They are in the mapped file itself, or in a copy if they are not aligned there.
  package func withFloats<Result>(
    of name: String, _ body: (UnsafeBufferPointer<Float>) throws -> Result
  ) throws -> Result {
    let bytes = try bytes(of: name)
    if Int(bitPattern: bytes.baseAddress) % MemoryLayout<Float>.alignment == 0 {
      return try body(bytes.bindMemory(to: Float.self))
    }
    let count = bytes.count / MemoryLayout<Float>.stride
    return try withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { copy in
      UnsafeMutableRawBufferPointer(copy).copyMemory(from: bytes)
      return try body(UnsafeBufferPointer(copy))
    }
  }

  /// Copies a tensor's floats into `destination`; throws if the counts differ or there is no tensor of this name.
  package func copy(_ name: String, into destination: UnsafeMutableBufferPointer<Float>) throws {
    let bytes = try bytes(of: name)
    guard bytes.count == destination.count * MemoryLayout<Float>.stride else {
      throw MilmError(
        path,
        "expected \(destination.count) floats in tensor \(name), "
          + "found \(bytes.count / MemoryLayout<Float>.stride) in shape \(try shape(of: name))")
    }
    UnsafeMutableRawBufferPointer(destination).copyMemory(from: bytes)
  }

  private func bytes(of name: String) throws(MilmError) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: data[try entry(name).range])
  }

  private func entry(_ name: String) throws(MilmError) -> SafetensorsHeader.Entry {
    guard let entry = entries[name] else {
      throw MilmError(path, "expected a tensor \(name), found none of this name among \(names.count)")
    }
    return entry
  }
}

/// Splits a file's bytes into the verified header and the data.
private func parseSafetensors(
  _ bytes: UnsafeRawBufferPointer
) throws(SafetensorsProblem) -> (header: SafetensorsHeader, data: UnsafeRawBufferPointer) {
  if let pointer = StoragePointer(bytes) {
    throw SafetensorsProblem("a safetensors file", found: pointer.description)
  }
  guard bytes.count >= SafetensorsHeader.lengthByteCount else {
    throw SafetensorsProblem("a safetensors file", found: "\(bytes.count) bytes")
  }
  let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
  let limit = min(SafetensorsHeader.maximumByteCount, bytes.count - SafetensorsHeader.lengthByteCount)
  guard length <= UInt64(limit) else {
    throw SafetensorsProblem("a header of at most \(limit) bytes", found: "\(length)")
  }
  let afterLength = bytes[SafetensorsHeader.lengthByteCount...]
  let json = UnsafeRawBufferPointer(rebasing: afterLength.prefix(Int(length)))
  let data = UnsafeRawBufferPointer(rebasing: afterLength.dropFirst(Int(length)))
  return (try SafetensorsHeader(parsing: json, dataByteCount: data.count), data)
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
