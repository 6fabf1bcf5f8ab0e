import Layers
import Platform
import Tensors

extension ParameterList {
  /// Throws if a tensor of the list is missing in a file or has another shape.
  package func requireShapes(in file: SafetensorsFile, prefix: String = "") throws {
    for parameter in parameters {
      let name = prefix + parameter.name
      let shape = try file.shape(of: name)
      guard shape == parameter.shape else {
        throw MilmError(file.path, "expected \(name) of shape \(parameter.shape), found \(shape)")
      }
    }
  }
}

extension ParameterBuffer {
  /// Copies every tensor of the list from a file, by name;
  /// throws if one is missing or has another shape.
  package func load(from file: SafetensorsFile, prefix: String = "") throws {
    try list.requireShapes(in: file, prefix: prefix)
    for parameter in list.parameters {
      let name = prefix + parameter.name
      let matrix = self[parameter]
      try file.copy(name, into: UnsafeMutableBufferPointer(start: matrix.data, count: matrix.count))
    }
  }

  /// All tensors, in the form that a checkpoint writes.
  package func tensorBytes(prefix: String = "") -> [TensorBytes] {
    list.parameters.map { self[$0].tensorBytes(name: prefix + $0.name, shape: $0.shape) }
  }
}

extension Matrix {
  /// The elements as a tensor of `shape`, in the form that a checkpoint writes; the rows must be contiguous.
  package func tensorBytes(name: String, shape: [Int]? = nil) -> TensorBytes {
    precondition(isContiguous, "a tensor's rows are contiguous")
    return TensorBytes(
      name: name, shape: shape ?? [rowCount, columnCount],
      floats: UnsafeBufferPointer(start: data, count: count))
  }
}
