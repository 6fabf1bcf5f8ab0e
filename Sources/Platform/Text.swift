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
    case "\u{0}"..<"\u{20}": result += "\\u" + padded(String(scalar.value, radix: 16), to: 4)
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result + "\""
}

/// A text on one line: line breaks and control characters become spaces.
package func singleLine(_ text: String) -> String {
  String(String.UnicodeScalarView(text.unicodeScalars.map { breaksLines($0) ? " " : $0 }))
}

private func breaksLines(_ scalar: Unicode.Scalar) -> Bool {
  [.control, .lineSeparator, .paragraphSeparator].contains(scalar.properties.generalCategory)
}

private func padded(_ digits: String, to count: Int) -> String {
  String(repeating: "0", count: max(0, count - digits.count)) + digits
}
