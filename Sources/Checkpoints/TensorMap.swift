import Layers
import Platform
import Tensors

/// Where the tensors of a model are in a safetensors file that another program wrote.
///
/// An entry `NAME=SOURCE` says what the model's tensor NAME is made of: a tensor of the file, its transpose (`SOURCE.T`), a
/// sum of them (`A+B`, as PyTorch's LSTM has two biases), `zeros`, or `identity`, a square matrix. Tensors without an entry
/// have their own name in the file, after one of the prefixes that frameworks put before all names.
package struct TensorMap: Sendable {
  /// Of the project's fixtures, of exported models, and of PyTorch's wrappers.
  private static let prefixes = ["", "parameter.", "model.", "module.", "_orig_mod."]

  /// A summand of a tensor.
  private enum Term {
    case tensor(String, isTransposed: Bool)
    case zeros
    case identity
  }

  private let file: SafetensorsFile
  private let prefix: String
  private let terms: [String: [Term]]

  /// Throws where an entry is not of the form `NAME=SOURCE`, a name occurs twice, or the file lacks a source.
  package init(_ entries: [String], of file: SafetensorsFile) throws(MilmError) {
    self.file = file
    prefix = Self.prefixes.first { file.contains($0 + "embedding.weight") } ?? ""
    var terms: [String: [Term]] = [:]
    for entry in entries {
      let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty }) else {
        throw MilmError("--map: expected NAME=SOURCE, found \(entry)")
      }
      guard terms[parts[0]] == nil else {
        throw MilmError("--map: expected \(parts[0]) once, found it twice")
      }
      terms[parts[0]] = try Self.terms(of: parts[1], in: file)
    }
    self.terms = terms
  }

  private static func terms(of source: String, in file: SafetensorsFile) throws(MilmError) -> [Term] {
    // A tensor of the file may have any name.
    if file.contains(source) { return [.tensor(source, isTransposed: false)] }
    var terms: [Term] = []
    for name in source.split(separator: "+", omittingEmptySubsequences: false).map(String.init) {
      if file.contains(name) {
        terms.append(.tensor(name, isTransposed: false))
      } else if name.hasSuffix(".T"), file.contains(String(name.dropLast(2))) {
        terms.append(.tensor(String(name.dropLast(2)), isTransposed: true))
      } else if name == "zeros" {
        terms.append(.zeros)
      } else if name == "identity" {
        terms.append(.identity)
      } else {
        throw MilmError(
          file.path, expected: "a tensor \(name)", found: "none of this name among \(file.names.count)",
          at: "--map")
      }
    }
    return terms
  }

  private func terms(of name: String) -> [Term]? {
    terms[name] ?? (file.contains(prefix + name) ? [.tensor(prefix + name, isTransposed: false)] : nil)
  }

  /// Whether the file has what a tensor is made of.
  package func contains(_ name: String) -> Bool { terms(of: name) != nil }

  /// The extents of a tensor; throws where the file does not determine them.
  package func shape(of name: String) throws -> [Int] {
    guard let terms = terms(of: name) else { throw absent(name) }
    for case .tensor(let source, let isTransposed) in terms {
      let shape = try file.shape(of: source)
      return isTransposed ? shape.reversed() : shape
    }
    throw MilmError(
      file.path, expected: "a tensor as the source of \(name), whose shape is the model's",
      found: "zeros or identity", at: "--map")
  }

  /// Fills a tensor of a model; throws where a source is missing, has another shape, or the sum is not finite.
  package func load(_ parameter: Parameter, into weights: ParameterBuffer) throws {
    guard let terms = terms(of: parameter.name) else { throw absent(parameter.name) }
    let matrix = weights[parameter]
    matrix.fill(0)
    for term in terms { try add(term, to: matrix, of: parameter) }
    guard weights.isFinite(parameter) else {
      throw MilmError(
        file.path, expected: "finite weights", found: "others in the source of \(parameter.name)")
    }
  }

  private func add(_ term: Term, to matrix: Matrix, of parameter: Parameter) throws {
    switch term {
    case .zeros: break
    case .identity:
      guard parameter.shape.count == 2, matrix.rowCount == matrix.columnCount else {
        throw MilmError(
          file.path, expected: "a square matrix to be the identity",
          found: "\(parameter.name) of shape \(parameter.shape)", at: "--map")
      }
      for index in 0..<matrix.rowCount { matrix.data[index * matrix.columnCount + index] += 1 }
    case .tensor(let source, let isTransposed):
      let shape = try file.shape(of: source)
      guard !isTransposed || shape.count == 2 else {
        throw MilmError(
          file.path, expected: "a matrix to be transposed for \(parameter.name)",
          found: "\(source) of shape \(shape)", at: "--map")
      }
      guard (isTransposed ? shape.reversed() : shape) == parameter.shape else {
        throw MilmError(
          file.path,
          expected: "\(source) of shape \(isTransposed ? parameter.shape.reversed() : parameter.shape) for "
            + parameter.name, found: "\(shape)")
      }
      try file.withFloats(of: source) { floats in
        guard isTransposed else {
          for index in 0..<matrix.count { matrix.data[index] += floats[index] }
          return
        }
        for row in 0..<matrix.rowCount {
          for column in 0..<matrix.columnCount {
            matrix.data[row * matrix.columnCount + column] += floats[column * matrix.rowCount + row]
          }
        }
      }
    }
  }

  /// Tensors of the file that a model of these parameters does not read.
  package func unread(by list: ParameterList) -> [String] {
    var read: Set<String> = []
    for parameter in list.parameters {
      for case .tensor(let name, _) in terms(of: parameter.name) ?? [] { read.insert(name) }
    }
    return file.names.filter { !read.contains($0) }
  }

  /// Throws where an entry names no tensor of the model.
  package func requireNames(in list: ParameterList) throws(MilmError) {
    let names = list.parameters.map(\.name)
    if let name = terms.keys.sorted().first(where: { !names.contains($0) }) {
      throw MilmError(
        "--map: expected a tensor of the model (\(names.joined(separator: ", "))), found \(name)")
    }
  }

  private func absent(_ name: String) -> MilmError {
    MilmError(
      file.path, expected: "a tensor \(name)", found: "none of this name among \(file.names.count)",
      at: "--map \(name)=SOURCE names another")
  }
}
