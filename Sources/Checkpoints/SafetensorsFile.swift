import Foundation
import Platform

/// A safetensors file of 32-bit floats, mapped into memory and checked when it is opened.
///
/// The file must not be shortened while it is open: the kernel ends a program that reads beyond a mapped
/// file's end. The mapping is read-only and lives as long as the object, which is why threads may share it.
public final class SafetensorsFile: @unchecked Sendable {
  /// Where the file is.
  public let path: String
  /// The texts of `__metadata__`.
  public let metadata: [String: String]
  /// The tensors' names, in the order of their bytes.
  public let names: [String]

  private let entries: [String: SafetensorsHeader.Entry]
  private let file: MappedFile
  private let data: UnsafeRawBufferPointer

  /// Maps the file and checks its header against its size; throws `MilmError`.
  public init(path: String) throws {
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
  public func contains(_ name: String) -> Bool {
    entries[name] != nil
  }

  /// The extents of a tensor, the slowest varying first; throws when there is none of this name.
  public func shape(of name: String) throws -> [Int] {
    try entry(name).shape
  }

  /// Lends a tensor's floats, row-major, for the duration of `body`; throws when there is none of this name.
  ///
  /// They are the mapped file itself, or a copy where a foreign file has them at an odd address.
  public func withFloats<Result>(
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

  /// Copies a tensor's floats into `destination`, which must have exactly their count; throws otherwise, and
  /// when there is no tensor of this name.
  public func copy(_ name: String, into destination: UnsafeMutableBufferPointer<Float>) throws {
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

/// Splits a file's bytes into the checked header and the data.
private func parseSafetensors(
  _ bytes: UnsafeRawBufferPointer
) throws(SafetensorsProblem) -> (header: SafetensorsHeader, data: UnsafeRawBufferPointer) {
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
