import Foundation
import Platform

/// A named tensor in the caller's memory, which must stay as it is until the file is written.
public struct TensorBytes {
  /// The tensor's name in the file.
  public let name: String
  /// Extents, the slowest varying first; empty for a single number.
  public let shape: [Int]
  /// The 32-bit floats of the tensor, row-major, little-endian.
  public let bytes: UnsafeRawBufferPointer

  /// A tensor over `floats`, whose count is the product of `shape`.
  public init(name: String, shape: [Int], floats: UnsafeBufferPointer<Float>) {
    self.init(name: name, shape: shape, bytes: UnsafeRawBufferPointer(floats))
  }

  /// A tensor over `bytes`, four for each element of `shape`.
  public init(name: String, shape: [Int], bytes: UnsafeRawBufferPointer) {
    precondition(
      shape.reduce(MemoryLayout<Float>.stride, *) == bytes.count,
      "tensor \(name) of shape \(shape) has \(bytes.count) bytes")
    self.name = name
    self.shape = shape
    self.bytes = bytes
  }
}

/// Writes tensors as a safetensors file at `path`, where there must be none yet, and waits until it is on the
/// disk.
///
/// The tensors' memory is read in place, once; they lie in the file in the order given. On an error, which is
/// a `MilmError`, nothing is left at `path`. Returns the sha256 and length of what was written.
@discardableResult
public func writeSafetensors(
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
