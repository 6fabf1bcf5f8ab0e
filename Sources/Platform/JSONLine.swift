import Foundation

/// A value as JSON on one line: `null` where a number is infinite or not a number, and control characters as escapes.
package func jsonLine(_ value: some Encodable) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  // The encoder writes such numbers as texts only; no text of a value is this one.
  let noNumber = UUID().uuidString
  encoder.nonConformingFloatEncodingStrategy = .convertToString(
    positiveInfinity: noNumber, negativeInfinity: noNumber, nan: noNumber)
  let text = String(decoding: try encoder.encode(value), as: UTF8.self)
    .replacing("\"\(noNumber)\"", with: "null")
  guard text.unicodeScalars.contains(where: \.controlsATerminal) else { return text }
  return text.unicodeScalars.map { $0.controlsATerminal ? jsonEscape($0) : String($0) }.joined()
}
