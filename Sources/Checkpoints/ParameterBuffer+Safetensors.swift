import Layers
import Platform
import Tensors

extension ParameterList {
  /// Throws where a tensor of the list is missing in a file or has another shape there.
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
  /// Copies every tensor of the list out of a file, by name;
  /// throws where one is missing or has another shape.
  package func load(from file: SafetensorsFile, prefix: String = "") throws {
    try list.requireShapes(in: file, prefix: prefix)
    for parameter in list.parameters {
      let name = prefix + parameter.name
      let matrix = self[parameter]
      try file.copy(name, into: UnsafeMutableBufferPointer(start: matrix.data, count: matrix.count))
    }
  }

  /// Every tensor as a checkpoint writes it.
  package func tensorBytes(prefix: String = "") -> [TensorBytes] {
    list.parameters.map { self[$0].tensorBytes(name: prefix + $0.name, shape: $0.shape) }
  }
}

extension Matrix {
  /// All elements as a checkpoint writes them, as a tensor of `shape`; the rows must be contiguous.
  package func tensorBytes(name: String, shape: [Int]? = nil) -> TensorBytes {
    precondition(isContiguous, "a tensor's rows are contiguous")
    return TensorBytes(
      name: name, shape: shape ?? [rowCount, columnCount],
      floats: UnsafeBufferPointer(start: data, count: count))
  }
}
