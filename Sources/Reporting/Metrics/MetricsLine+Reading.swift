import Foundation
import Platform

extension MetricsLine {
  /// Others, which no run reaches, are refused: sums of them would overflow.
  static let plausibleIntegers = 0...1 << 53

  /// Reads a line that `json` has written, also in a version with other metrics; nil where it is none.
  ///
  /// `training` is the table of reports of training.
  init?(_ json: UnsafeRawBufferPointer, training: MetricTable) {
    for table in [training, .evaluation] {
      if let values = LineScanner(json).values(of: table) {
        self.init(table)
        self.values = values
        return
      }
    }
    guard let members = try? JSONReader.members(of: json, maximumDepth: 8) else { return nil }
    self.init(members.contains { $0.name == "split" } ? .evaluation : training)
    var hasStep = false
    for (name, value) in members {
      guard let index = table.index(of: name) else { continue }
      switch (table.metrics[index].kind, value) {
      case (_, .null): break
      case (.integer, .integer(let integer)) where Self.plausibleIntegers.contains(integer):
        values[index] = .integer(integer)
      case (.number, .integer(let integer)), (.exactNumber, .integer(let integer)):
        values[index] = .number(Double(integer))
      case (.number, .real(let real)), (.exactNumber, .real(let real)): values[index] = .number(real)
      case (.text, .string(let text)): values[index] = .text(text)
      default: return nil
      }
      if name == "step", case .integer = value { hasStep = true }
    }
    guard hasStep else { return nil }
  }
}

/// Reads a line in the very layout that `json` writes, ten times as fast as JSON in general.
private struct LineScanner {
  private let bytes: UnsafeRawBufferPointer
  private var position = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// The values of a table; nil where the line has another layout.
  func values(of table: MetricTable) -> [MetricValue]? {
    var scanner = self
    var values = MetricsLine(table).values
    for index in table.metrics.indices {
      guard scanner.consume(table.openings[index]) else { return nil }
      if index > 0, scanner.consume(Self.null) { continue }
      guard let value = scanner.value(table.metrics[index].kind) else { return nil }
      values[index] = value
    }
    guard scanner.consume(Self.end), scanner.position == bytes.count else { return nil }
    return values
  }

  private static let null = Array("null".utf8)
  private static let end = Array("}".utf8)

  private mutating func consume(_ expected: [UInt8]) -> Bool {
    guard bytes.count - position >= expected.count else { return false }
    for index in expected.indices where bytes[position + index] != expected[index] { return false }
    position += expected.count
    return true
  }

  private mutating func value(_ kind: Metric.Kind) -> MetricValue? {
    switch kind {
    case .integer: integer().map { .integer($0) }
    case .number, .exactNumber: number().map { .number($0) }
    case .text: text().map { .text($0) }
    }
  }

  private mutating func integer() -> Int? {
    let start = position
    var value = 0
    while position < bytes.count, case let digit = Int(bytes[position]) - 0x30, (0...9).contains(digit) {
      value = value * 10 + digit
      guard MetricsLine.plausibleIntegers.contains(value) else { return nil }
      position += 1
    }
    return position > start ? value : nil
  }

  private mutating func number() -> Double? {
    let start = position
    while position < bytes.count, Self.isPartOfNumber(bytes[position]) { position += 1 }
    // The byte after the number is none of it, so the conversion ends within the line.
    guard position > start, position < bytes.count, let base = bytes.baseAddress else { return nil }
    let text = (base + start).assumingMemoryBound(to: CChar.self)
    var end: UnsafeMutablePointer<CChar>?
    let value = strtod(text, &end)
    return end == UnsafeMutablePointer(mutating: text) + (position - start) && value.isFinite ? value : nil
  }

  private static func isPartOfNumber(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."),
      UInt8(ascii: "e"), UInt8(ascii: "E"):
      true
    default: false
    }
  }

  /// A text of printable ASCII without escapes.
  private mutating func text() -> String? {
    let quote = UInt8(ascii: "\"")
    guard position < bytes.count, bytes[position] == quote else { return nil }
    let start = position + 1
    var end = start
    while end < bytes.count, (0x20..<0x7F).contains(bytes[end]), bytes[end] != UInt8(ascii: "\\") {
      if bytes[end] == quote {
        position = end + 1
        return String(decoding: UnsafeRawBufferPointer(rebasing: bytes[start..<end]), as: UTF8.self)
      }
      end += 1
    }
    return nil
  }
}
