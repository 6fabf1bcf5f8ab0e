/// A hash in sixteen lower-case hexadecimal digits.
package func hexadecimal(_ value: UInt64) -> String {
  padded(String(value, radix: 16), to: 16)
}

/// A text as a JSON string, quotation marks included.
package func jsonString(_ text: String) -> String {
  var result = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"": result += "\\\""
    case "\\": result += "\\\\"
    case "\u{0}"..<"\u{20}": result += jsonEscape(scalar)
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result + "\""
}

/// A scalar of the basic plane as `\u00NN`.
func jsonEscape(_ scalar: Unicode.Scalar) -> String {
  "\\u" + padded(String(scalar.value, radix: 16), to: 4)
}

/// A text as a terminal may show it, on one line: characters that would end the line, move the cursor or reorder the text
/// become escapes such as `\n`, `\x1b` and `\u202e`.
package func visible(_ text: String) -> String {
  escaping(text, \.controlsATerminal)
}

/// The same for a text of several lines, whose line breaks and tabs stay.
package func visibleLines(_ text: String) -> String {
  escaping(text) { $0.controlsATerminal && $0 != "\n" && $0 != "\t" }
}

private func escaping(_ text: String, _ isEscaped: (Unicode.Scalar) -> Bool) -> String {
  guard text.unicodeScalars.contains(where: isEscaped) else { return text }
  return text.unicodeScalars.map { isEscaped($0) ? escape($0) : String($0) }.joined()
}

private func escape(_ scalar: Unicode.Scalar) -> String {
  let digits = String(scalar.value, radix: 16)
  return switch scalar {
  case "\n": "\\n"
  case "\t": "\\t"
  case "\r": "\\r"
  case "\u{0}"..<"\u{100}": "\\x" + padded(digits, to: 2)
  default: "\\u" + padded(digits, to: 4)
  }
}

extension Unicode.Scalar {
  /// Whether a terminal obeys it instead of showing it: control characters (C0, DEL, C1), line and paragraph separators, and
  /// the controls of the bidirectional algorithm.
  var controlsATerminal: Bool {
    // Printable ASCII is decided without a look-up.
    guard value < 0x20 || value > 0x7E else { return false }
    return switch properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator: true
    default: properties.isBidiControl
    }
  }
}

/// Words as a shell reads them back, each quoted where it must be, as by `printf %q`.
package func shellWords(_ words: [String]) -> String {
  words.map(shellWord).joined(separator: " ")
}

private func shellWord(_ word: String) -> String {
  guard !word.isEmpty else { return "''" }
  if word.unicodeScalars.contains(where: \.controlsATerminal) {
    // A shell reads \xNN as a byte.
    let quoted = word.unicodeScalars.map { scalar in
      switch scalar {
      case "'", "\\": "\\\(scalar)"
      case _ where scalar.controlsATerminal:
        String(scalar).utf8.map { "\\x" + padded(String($0, radix: 16), to: 2) }.joined()
      default: String(scalar)
      }
    }
    return "$'\(quoted.joined())'"
  }
  let plain = "_-+./:=@%"
  return word.unicodeScalars.map { scalar in
    let isPlain = !scalar.isASCII || scalar.properties.isAlphabetic || scalar.properties.numericType != nil
    return isPlain || plain.unicodeScalars.contains(scalar) ? String(scalar) : "\\\(scalar)"
  }.joined()
}

private func padded(_ digits: String, to count: Int) -> String {
  String(repeating: "0", count: max(0, count - digits.count)) + digits
}
