import Foundation
import Platform

/// `state.json` as bytes.
///
/// The file is JSON with one member per line, sorted by name, except for the last member, `checksum`: the sha256 of
/// the file without the line of `checksum` and the comma before it, which is JSON again. Verification in Python:
///
///     import hashlib, re, sys
///     text = open(sys.argv[1], "rb").read()
///     parts = re.fullmatch(rb'(.*),\n  "checksum" : "([0-9a-f]{64})"\n}\n', text, re.DOTALL)
///     assert parts and hashlib.sha256(parts[1] + b"\n}\n").hexdigest() == parts[2].decode()
extension CheckpointState {
  /// A longer file is not read.
  static let maximumByteCount = 16 << 20
  private static let checksumStart = Array(",\n  \"checksum\" : \"".utf8)
  private static let ending = Array("\n}\n".utf8)

  /// The bytes of a state file, a function of the state.
  package func encoded() throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
    let members = Array(try encoder.encode(self).dropLast(2))
    let checksum = SHA256Digest.hexadecimal(of: members + Self.ending)
    return members + Self.checksumStart + Array("\(checksum)\"".utf8) + Self.ending
  }

  /// Reads a state file and verifies its size, checksum, nesting, version and values.
  init(contentsOf path: String) throws {
    try self.init(encoded: OpenFile.reading(path).readAll(limit: Self.maximumByteCount), path: path)
  }

  /// Decodes and verifies the bytes of a state file; `path` is for error messages.
  package init(encoded bytes: [UInt8], path: String) throws {
    try Self.verifyChecksum(bytes, path: path)
    let version = try Self.version(bytes, path: path)
    guard version == Self.currentFormatVersion else {
      throw MilmError(
        path,
        "expected formatVersion \(Self.currentFormatVersion), found \(version.map(String.init) ?? "none")")
    }
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
    do {
      self = try decoder.decode(Self.self, from: Data(bytes))
    } catch let error as DecodingError {
      throw MilmError(path, Self.describe(error))
    }
    if let defect { throw MilmError(path, defect) }
  }

  private static func verifyChecksum(_ bytes: [UInt8], path: String) throws(MilmError) {
    let tailByteCount = checksumStart.count + 64 + 1 + ending.count
    let tail = bytes.suffix(tailByteCount)
    guard tail.count == tailByteCount, tail.starts(with: checksumStart), tail.suffix(4) == [0x22] + ending
    else {
      throw MilmError(path, "expected `checksum` as its last field, found none")
    }
    let found = tail.dropFirst(checksumStart.count).prefix(64)
    let expected = SHA256Digest.hexadecimal(of: bytes.dropLast(tailByteCount) + ending)
    guard found.elementsEqual(expected.utf8) else {
      throw MilmError(path, "its checksum differs from that of its content: the file is corrupted")
    }
  }

  /// The file's version; throws if the nesting is too deep for a recursive decoder.
  private static func version(_ bytes: [UInt8], path: String) throws -> Int? {
    do {
      let members = try bytes.withUnsafeBytes { try JSONReader.members(of: $0, maximumDepth: 8) }
      guard case .integer(let version)? = members.first(where: { $0.name == "formatVersion" })?.value else {
        return nil
      }
      return version
    } catch let problem as JSONProblem {
      throw MilmError(path, "expected JSON, found \(problem.description)")
    }
  }

  private static func describe(_ error: DecodingError) -> String {
    func name(_ path: [any CodingKey]) -> String {
      path.map { $0.intValue.map(String.init) ?? $0.stringValue }.joined(separator: ".")
    }
    switch error {
    case .keyNotFound(let key, let context):
      return "expected a field \(name(context.codingPath + [key])), found none"
    case .typeMismatch(let type, let context):
      return "expected \(type) as \(name(context.codingPath)), found another type"
    case .valueNotFound(let type, let context):
      return "expected \(type) as \(name(context.codingPath)), found null"
    case .dataCorrupted(let context):
      return "unusable value of \(name(context.codingPath)): \(context.debugDescription)"
    @unknown default:
      return "unusable content"
    }
  }
}
