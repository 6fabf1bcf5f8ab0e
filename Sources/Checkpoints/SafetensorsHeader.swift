import Platform

/// The header of a safetensors file: eight bytes of length (little-endian), then JSON.
///
/// The bytes of the tensors follow without gap or overlap, in the order of their offsets.
struct SafetensorsHeader {
  /// A tensor; `range` counts bytes from the end of the header.
  struct Entry {
    let name: String
    let shape: [Int]
    let range: Range<Int>
  }

  /// The limit of the official implementation.
  static let maximumByteCount = 100_000_000
  static let lengthByteCount = 8
  private static let metadataName = "__metadata__"

  /// In file order.
  let entries: [Entry]
  let metadata: [String: String]

  /// The header of tensors in the given order.
  init(laying tensors: [TensorBytes], metadata: [String: String]) {
    let names = Set(tensors.map(\.name))
    precondition(names.count == tensors.count, "two tensors of one name")
    precondition(!names.contains(Self.metadataName), "a tensor may not be named \(Self.metadataName)")
    var end = 0
    entries = tensors.map { tensor in
      let start = end
      end += tensor.bytes.count
      return Entry(name: tensor.name, shape: tensor.shape, range: start..<end)
    }
    self.metadata = metadata
  }

  /// Parses and verifies the JSON of a header that is followed by `dataByteCount` bytes.
  init(parsing json: UnsafeRawBufferPointer, dataByteCount: Int) throws(SafetensorsProblem) {
    guard json.first == UInt8(ascii: "{") else { throw SafetensorsProblem("a header that begins with '{'") }
    let members: [(name: String, value: JSONValue)]
    do throws(JSONProblem) {
      members = try JSONReader.members(of: json, maximumDepth: 4)
    } catch {
      throw SafetensorsProblem("a JSON header", found: error.description)
    }
    var metadata: [String: String] = [:]
    var entries: [Entry] = []
    for member in members {
      if member.name == Self.metadataName {
        metadata = try Self.metadata(member.value)
      } else {
        entries.append(try Entry(member.name, member.value))
      }
    }
    self.metadata = metadata
    self.entries = entries.sorted {
      ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
    }
    try checkTiling(dataByteCount: dataByteCount)
  }

  /// The header as in the file: length, JSON, and spaces that align the data to a multiple of 8.
  func encoded() -> [UInt8] {
    var members: [String] = []
    if !metadata.isEmpty {
      let pairs = metadata.sorted { $0.key < $1.key }.map { "\(jsonString($0.key)):\(jsonString($0.value))" }
      members.append("\(jsonString(Self.metadataName)):{\(pairs.joined(separator: ","))}")
    }
    for entry in entries {
      let shape = entry.shape.map(String.init).joined(separator: ",")
      let offsets = "\(entry.range.lowerBound),\(entry.range.upperBound)"
      members.append(
        "\(jsonString(entry.name)):{\"dtype\":\"F32\",\"shape\":[\(shape)],\"data_offsets\":[\(offsets)]}")
    }
    var json = Array("{\(members.joined(separator: ","))}".utf8)
    json += Array(repeating: UInt8(ascii: " "), count: (8 - json.count % 8) % 8)
    return withUnsafeBytes(of: UInt64(json.count).littleEndian, Array.init) + json
  }

  private static func metadata(_ value: JSONValue) throws(SafetensorsProblem) -> [String: String] {
    guard case .object(let members) = value else { throw SafetensorsProblem("an object as \(metadataName)") }
    var metadata: [String: String] = [:]
    for member in members {
      guard case .string(let text) = member.value else {
        throw SafetensorsProblem("a text as \(metadataName) \(member.name)")
      }
      metadata[member.name] = text
    }
    return metadata
  }

  private func checkTiling(dataByteCount: Int) throws(SafetensorsProblem) {
    var end = 0
    for entry in entries {
      guard entry.range.lowerBound == end else {
        throw SafetensorsProblem(
          "tensor \(entry.name) to begin at byte \(end) of the data", found: "\(entry.range.lowerBound)")
      }
      end = entry.range.upperBound
    }
    guard end == dataByteCount else {
      throw SafetensorsProblem("\(end) bytes of data after the header", found: "\(dataByteCount)")
    }
  }
}

extension SafetensorsHeader.Entry {
  fileprivate init(_ name: String, _ value: JSONValue) throws(SafetensorsProblem) {
    guard case .object(let members) = value else { throw SafetensorsProblem("an object for tensor \(name)") }
    var type: String?
    var shape: [Int]?
    var offsets: [Int]?
    for member in members {
      switch (member.name, member.value) {
      case ("dtype", .string(let text)): type = text
      case ("shape", .array(let elements)): shape = Self.counts(elements)
      case ("data_offsets", .array(let elements)): offsets = Self.counts(elements)
      default: throw SafetensorsProblem("dtype, shape and data_offsets of tensor \(name)", found: member.name)
      }
    }
    guard type == "F32" else {
      throw SafetensorsProblem("dtype F32 of tensor \(name)", found: type ?? "none")
    }
    guard let shape else { throw SafetensorsProblem("a shape of counts for tensor \(name)") }
    guard let offsets, offsets.count == 2, offsets[0] <= offsets[1] else {
      throw SafetensorsProblem("data_offsets [begin, end] of tensor \(name)")
    }
    let byteCount = Self.byteCount(shape)
    guard byteCount == offsets[1] - offsets[0] else {
      throw SafetensorsProblem(
        "\(byteCount.map(String.init) ?? "fewer") bytes for tensor \(name) of shape \(shape)",
        found: "\(offsets[1] - offsets[0])")
    }
    self.init(name: name, shape: shape, range: offsets[0]..<offsets[1])
  }

  private static func counts(_ values: [JSONValue]) -> [Int]? {
    var counts: [Int] = []
    for value in values {
      guard case .integer(let count) = value, count >= 0 else { return nil }
      counts.append(count)
    }
    return counts
  }

  /// The byte count of a tensor of this shape, nil on overflow.
  private static func byteCount(_ shape: [Int]) -> Int? {
    var count = MemoryLayout<Float>.stride
    for extent in shape {
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      if overflow { return nil }
      count = product
    }
    return count
  }
}

/// A violation of the safetensors format; the reader adds the path.
struct SafetensorsProblem: Error {
  let description: String

  init(_ expected: String, found: String? = nil) {
    description = "expected \(expected)" + (found.map { ", found \($0)" } ?? "")
  }
}
