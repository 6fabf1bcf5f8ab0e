import Checkpoints
import Foundation
import Platform
import TestSupport
import Testing

struct SafetensorsTests {
  let folder: TemporaryFolder
  let path: String

  init() throws {
    folder = try TemporaryFolder()
    path = folder.file("model.safetensors")
  }

  /// A file of `json` and `dataByteCount` bytes 0, 1, 2, …, optionally with another length field.
  private func writeRaw(_ json: some Sequence<UInt8>, dataByteCount: Int = 0, length: UInt64? = nil) throws {
    let json = Array(json)
    let length = withUnsafeBytes(of: (length ?? UInt64(json.count)).littleEndian, Array.init)
    try replaceContent(path, length + json + (0..<dataByteCount).map { UInt8(truncatingIfNeeded: $0) })
  }

  @Test func roundTrips() throws {
    let weight: [Float] = [1, -0.0, .infinity, .leastNonzeroMagnitude, .pi, 6]
    let single: [Float] = [42]
    let digest = try weight.withUnsafeBufferPointer { weight in
      try single.withUnsafeBufferPointer { single in
        try writeSafetensors(
          [
            TensorBytes(name: "weight \"ä\"\n", shape: [2, 3], floats: weight),
            TensorBytes(name: "none", shape: [0, 7], floats: UnsafeBufferPointer(rebasing: single[..<0])),
            TensorBytes(name: "scalar", shape: [], floats: single),
          ], metadata: ["step": "7", "config": "{\"a\\b\": [\n]}\u{1}"], to: path)
      }
    }
    #expect(try FileDigest(ofFile: path) == digest)

    let file = try SafetensorsFile(path: path)
    #expect(file.names == ["weight \"ä\"\n", "none", "scalar"])
    #expect(file.metadata == ["step": "7", "config": "{\"a\\b\": [\n]}\u{1}"])
    #expect(try file.shape(of: "weight \"ä\"\n") == [2, 3])
    #expect(try file.shape(of: "none") == [0, 7])
    #expect(try file.shape(of: "scalar") == [])
    let read = try file.withFloats(of: "weight \"ä\"\n") { $0.map(\.bitPattern) }
    #expect(read == weight.map(\.bitPattern))
    #expect(try file.withFloats(of: "none") { Array($0) } == [])
    #expect(try file.withFloats(of: "scalar") { Array($0) } == [42])
  }

  @Test(arguments: 1...9) func alignsItsDataToEightBytes(nameLength: Int) throws {
    let name = String(repeating: "n", count: nameLength)
    try floats(1, 3).withUnsafeBufferPointer { floats in
      _ = try writeSafetensors([TensorBytes(name: name, shape: [3], floats: floats)], to: path)
    }
    let content = try bytes(path)
    let headerByteCount = content.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    #expect(headerByteCount % 8 == 0)
    #expect(content.count == 8 + headerByteCount + 12)
  }

  @Test(arguments: 0...7) func readsUnalignedFloats(padding: Int) throws {
    let json = #"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#
    try writeRaw((json + String(repeating: " ", count: padding)).utf8, dataByteCount: 8)
    let expected = [Float(bitPattern: 0x0302_0100), Float(bitPattern: 0x0706_0504)]

    let file = try SafetensorsFile(path: path)
    #expect(try file.withFloats(of: "t") { Array($0) } == expected)
    var copy: [Float] = [0, 0]
    try copy.withUnsafeMutableBufferPointer { try file.copy("t", into: $0) }
    #expect(copy == expected)
  }

  @Test func refusesUnknownTensorsAndCopiesOfAnotherSize() throws {
    try floats(1, 3).withUnsafeBufferPointer { floats in
      _ = try writeSafetensors([TensorBytes(name: "t", shape: [3], floats: floats)], to: path)
    }
    let file = try SafetensorsFile(path: path)
    #expect(try refusal { _ = try file.shape(of: "u") }.hasPrefix("\(path): expected a tensor u"))
    var copy: [Float] = [0, 0, 0, 0]
    let error = try refusal { try copy.withUnsafeMutableBufferPointer { try file.copy("t", into: $0) } }
    #expect(error == "\(path): expected 4 floats in tensor t, found 3 in shape [3]")
  }

  @Test func leavesAnExistingFileUnchanged() throws {
    try replaceContent(path, "mine".utf8)
    #expect(try refusal { _ = try writeSafetensors([], to: path) } == "\(path): cannot create: File exists")
    #expect(try bytes(path) == Array("mine".utf8))
  }

  static let malformed: [(json: String, dataByteCount: Int, complaint: String)] = [
    ("", 0, "begins with '{'"),
    (" {}", 0, "begins with '{'"),
    ("[]", 0, "begins with '{'"),
    ("{", 0, "expected a name"),
    ("{}}", 0, "expected the end"),
    (#"{"t":1}"#, 0, "an object for tensor t"),
    (#"{"t":{}}"#, 0, "dtype F32"),
    (#"{"t":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#, 4, "found F16"),
    (#"{"t":{"dtype":"F32","data_offsets":[0,4]}}"#, 4, "a shape"),
    (#"{"t":{"dtype":"F32","shape":[1]}}"#, 4, "data_offsets [begin, end]"),
    (#"{"t":{"dtype":"F32","shape":1,"data_offsets":[0,4]}}"#, 4, "dtype, shape and data_offsets"),
    (#"{"t":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#, 4, "a shape"),
    (#"{"t":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "a shape"),
    (#"{"t":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}"#, 4, "a shape"),
    (#"{"t":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}"#, 4, "a shape"),
    (#"{"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, 0, "found 0"),
    (#"{"t":{"dtype":"F32","shape":[9223372036854775807,2,0],"data_offsets":[0,0]}}"#, 0, "found 0"),
    (#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4, "expected 8 bytes for tensor t"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "data_offsets [begin, end]"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#, 4, "data_offsets [begin, end]"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, 4, "data_offsets [begin, end]"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#, 4, "data_offsets [begin, end]"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}}"#, 4, "found more"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 3, "expected 4 bytes of data"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 5, "expected 4 bytes of data"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "to begin at byte 0"),
    (
      #"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"#
        + #""u":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
      12, "tensor u to begin at byte 8"
    ),
    (
      #"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#
        + #""t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
      8, "occurs twice"
    ),
    (#"{"t":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4, "occurs twice"),
    (#"{"__metadata__":{"a":1}}"#, 0, "a text as __metadata__ a"),
    (#"{"__metadata__":[]}"#, 0, "an object as __metadata__"),
    (#"{"t":[[[[[[[[1]]]]]]]]}"#, 0, "nested deeper"),
    (#"{"t":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}"#, 4, "expected a value"),
    (#"{"\ud800":{}}"#, 0, "surrogate"),
    ("{\"line\nbreak\":{}}", 0, "control character"),
    (#"{"line\nbreak":{}}"#, 0, "tensor line\\nbreak"),
  ]

  @Test(arguments: malformed) func refusesAMalformedHeader(
    json: String, dataByteCount: Int, complaint: String
  ) throws {
    try writeRaw(json.utf8, dataByteCount: dataByteCount)
    let error = try refusal { _ = try SafetensorsFile(path: path) }
    #expect(error.hasPrefix("\(path): expected "))
    #expect(error.contains(complaint), "\(error)")
  }

  @Test func refusesTextThatIsNotUnicode() throws {
    try writeRaw(Array("{\"".utf8) + [0xFF] + Array("\":{}}".utf8))
    #expect(try refusal { _ = try SafetensorsFile(path: path) }.contains("not UTF-8"))
  }

  @Test(arguments: [3, 100_000_001, UInt64(Int64.max), .max]) func refusesAnImpossibleHeaderLength(
    length: UInt64
  ) throws {
    try writeRaw("{}".utf8, length: length)
    #expect(
      try refusal { _ = try SafetensorsFile(path: path) }.contains(
        "a header of at most 2 bytes, found \(length)"))
  }

  @Test(arguments: 0...7) func refusesAFileShorterThanItsLengthField(byteCount: Int) throws {
    try replaceContent(path, Array(repeating: 0, count: byteCount))
    #expect(
      try refusal { _ = try SafetensorsFile(path: path) }
        == "\(path): expected a safetensors file, found \(byteCount) bytes")
  }

  @Test func refusesWhatIsNoFile() throws {
    #expect(
      try refusal { _ = try SafetensorsFile(path: path) } == "\(path): cannot open: No such file or directory"
    )
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    #expect(try refusal { _ = try SafetensorsFile(path: path) }.contains("expected a file"))
  }

  @Test func survivesRandomChanges() throws {
    let weight = floats(0, 6)
    try weight.withUnsafeBufferPointer { floats in
      _ = try writeSafetensors(
        [
          TensorBytes(name: "a", shape: [2, 2], floats: UnsafeBufferPointer(rebasing: floats[..<4])),
          TensorBytes(name: "b", shape: [2], floats: UnsafeBufferPointer(rebasing: floats[4...])),
        ], metadata: ["format": "test"], to: path)
    }
    let json = try bytes(path).dropFirst(8).dropLast(24)
    var generator = SplitMix64(state: 1)
    var acceptedCount = 0
    for _ in 0..<fuzzCount {
      try writeRaw(mutated(Array(json), &generator), dataByteCount: 24)
      guard let file = try? SafetensorsFile(path: path) else { continue }
      acceptedCount += 1
      let floatCount = try file.names.map { name in
        let count = try file.withFloats(of: name) { $0.count }
        #expect(try file.shape(of: name).reduce(1, *) == count)
        return count
      }.reduce(0, +)
      #expect(floatCount == 6)
    }
    // A header has no checksum, so changes of a name, of the metadata or of the padding cannot be detected.
    reportFuzz("safetensors", sealedCount: 0, passedCount: acceptedCount, acceptedCount: acceptedCount)
    #expect((fuzzCount / 100..<fuzzCount / 2).contains(acceptedCount), "\(acceptedCount)")
  }
}
