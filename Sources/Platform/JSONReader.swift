import Foundation

/// A JSON value; members are in the order of the text, and their names are unique.
package enum JSONValue {
  case null
  case boolean(Bool)
  case integer(Int)
  case real(Double)
  case string(String)
  case array([JSONValue])
  case object([(name: String, value: JSONValue)])
}

/// Why and where a text was refused.
package struct JSONProblem: Error {
  let problem: String
  let offset: Int

  package var description: String { "\(problem) at byte \(offset)" }
}

/// Parses JSON from an untrusted source: nesting and the number of values are bounded, and duplicate names, which
/// Foundation's parsers accept, are refused.
package struct JSONReader {
  private static let comparedNameCount = 32

  private let bytes: UnsafeRawBufferPointer
  private let maximumDepth: Int
  private var position = 0
  private var remainingValueCount: Int

  /// Parses `bytes`, which must be one object, optionally surrounded by white space.
  package static func members(
    of bytes: UnsafeRawBufferPointer, maximumDepth: Int, maximumValueCount: Int = 1 << 20
  ) throws(JSONProblem) -> [(name: String, value: JSONValue)] {
    var reader = JSONReader(bytes, maximumDepth: maximumDepth, maximumValueCount: maximumValueCount)
    reader.skipSpace()
    let members = try reader.members(depth: 1)
    reader.skipSpace()
    guard reader.position == bytes.count else { throw reader.problem("expected the end, found more") }
    return members
  }

  private init(_ bytes: UnsafeRawBufferPointer, maximumDepth: Int, maximumValueCount: Int) {
    self.bytes = bytes
    self.maximumDepth = maximumDepth
    remainingValueCount = maximumValueCount
  }

  private mutating func value(depth: Int) throws(JSONProblem) -> JSONValue {
    guard depth <= maximumDepth else { throw problem("nested deeper than \(maximumDepth) levels") }
    remainingValueCount -= 1
    guard remainingValueCount >= 0 else { throw problem("too many values") }
    skipSpace()
    switch peek {
    case UInt8(ascii: "{"): return .object(try members(depth: depth))
    case UInt8(ascii: "["): return .array(try elements(depth: depth))
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .boolean(true))
    case UInt8(ascii: "f"): return try literal("false", .boolean(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    default: return try number()
    }
  }

  private mutating func members(depth: Int) throws(JSONProblem) -> [(name: String, value: JSONValue)] {
    var members: [(name: String, value: JSONValue)] = []
    // Few names are compared faster than they are hashed.
    var names: Set<String> = []
    try sequence(opening: "{", closing: "}") { reader throws(JSONProblem) in
      guard reader.peek == UInt8(ascii: "\"") else { throw reader.problem("expected a name") }
      let name = try reader.string()
      if members.count == Self.comparedNameCount { names = Set(members.map(\.name)) }
      let isNew =
        members.count < Self.comparedNameCount
        ? !members.contains { $0.name == name } : names.insert(name).inserted
      guard isNew else { throw reader.problem("the name \(name) occurs twice,") }
      reader.skipSpace()
      guard reader.consume(":") else { throw reader.problem("expected ':'") }
      members.append((name, try reader.value(depth: depth + 1)))
    }
    return members
  }

  private mutating func elements(depth: Int) throws(JSONProblem) -> [JSONValue] {
    var elements: [JSONValue] = []
    try sequence(opening: "[", closing: "]") { reader throws(JSONProblem) in
      elements.append(try reader.value(depth: depth + 1))
    }
    return elements
  }

  private mutating func sequence(
    opening: Unicode.Scalar, closing: Unicode.Scalar,
    element: (inout JSONReader) throws(JSONProblem) -> Void
  ) throws(JSONProblem) {
    guard consume(opening) else { throw problem("expected '\(opening)'") }
    skipSpace()
    if consume(closing) { return }
    while true {
      skipSpace()
      try element(&self)
      skipSpace()
      if consume(closing) { return }
      guard consume(",") else { throw problem("expected ',' or '\(closing)'") }
    }
  }

  private mutating func literal(_ word: StaticString, _ value: JSONValue) throws(JSONProblem) -> JSONValue {
    for index in 0..<word.utf8CodeUnitCount {
      guard peek == word.utf8Start[index] else { throw problem("expected '\(word)'") }
      position += 1
    }
    return value
  }

  private mutating func number() throws(JSONProblem) -> JSONValue {
    let start = position
    _ = consume("-")
    let isZero = peek == UInt8(ascii: "0")
    let wholeDigitCount = skipDigits()
    guard wholeDigitCount == 1 || (wholeDigitCount > 1 && !isZero) else {
      throw problem("expected a value")
    }
    var isInteger = true
    if consume(".") {
      isInteger = false
      guard skipDigits() > 0 else { throw problem("expected a digit") }
    }
    if consume("e") || consume("E") {
      isInteger = false
      if !consume("+") { _ = consume("-") }
      guard skipDigits() > 0 else { throw problem("expected a digit") }
    }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    if isInteger, let integer = Int(text) { return .integer(integer) }
    guard let real = Double(text) else { throw problem("expected a number") }
    return .real(real)
  }

  private mutating func string() throws(JSONProblem) -> String {
    position += 1
    let start = position
    if let text = plainString() { return text }
    var content: [UInt8] = []
    while let byte = peek {
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let text = String(validating: content, as: UTF8.self) else {
          position = start
          throw problem("text that is not UTF-8")
        }
        return text
      case UInt8(ascii: "\\"): content += String(try escapedScalar()).utf8
      case 0..<0x20: throw problem("a control character in a text")
      default: content.append(byte)
      }
    }
    throw problem("an unterminated string")
  }

  /// A text of printable ASCII without escapes; nil, at the same position, where it is not.
  private mutating func plainString() -> String? {
    var end = position
    while end < bytes.count, (0x20..<0x7F).contains(bytes[end]), bytes[end] != UInt8(ascii: "\\") {
      if bytes[end] == UInt8(ascii: "\"") {
        defer { position = end + 1 }
        return String(decoding: UnsafeRawBufferPointer(rebasing: bytes[position..<end]), as: UTF8.self)
      }
      end += 1
    }
    return nil
  }

  private mutating func escapedScalar() throws(JSONProblem) -> Unicode.Scalar {
    guard let byte = peek else { throw problem("an unterminated string") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): return try unicodeScalar()
    default: throw problem("an unknown escape")
    }
  }

  /// The scalar after `\u`, which may be a surrogate pair.
  private mutating func unicodeScalar() throws(JSONProblem) -> Unicode.Scalar {
    let first = try codeUnit()
    if let scalar = Unicode.Scalar(first) { return scalar }
    guard first < 0xDC00, consume("\\"), consume("u") else { throw problem("half a surrogate pair") }
    let second = try codeUnit()
    guard (0xDC00..<0xE000).contains(second) else { throw problem("half a surrogate pair") }
    guard let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00)) else {
      throw problem("half a surrogate pair")
    }
    return scalar
  }

  private mutating func codeUnit() throws(JSONProblem) -> UInt32 {
    var unit: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
        throw problem("expected four hexadecimal digits")
      }
      unit = unit << 4 | UInt32(digit)
      position += 1
    }
    return unit
  }

  private var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func consume(_ character: Unicode.Scalar) -> Bool {
    guard let byte = peek, Unicode.Scalar(byte) == character else { return false }
    position += 1
    return true
  }

  private mutating func skipDigits() -> Int {
    let start = position
    while let byte = peek, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
    return position - start
  }

  private mutating func skipSpace() {
    while let byte = peek, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
  }

  private func problem(_ text: String) -> JSONProblem {
    JSONProblem(problem: text, offset: position)
  }
}
