import Foundation

/// Numbers as text for people; `?` for what is not a finite number.
package enum Readable {
  /// Three significant digits and thousands, millions or billions: `950`, `12.3k`, `4.56M`.
  package static func count(_ value: Double) -> String {
    scaled(value, units: ["", "k", "M", "G", "T"], separator: "")
  }

  /// Bytes in powers of 1000: `512 B`, `34.5 MB`.
  package static func byteCount(_ value: Int) -> String {
    scaled(Double(value), units: ["B", "kB", "MB", "GB", "TB"], separator: " ")
  }

  /// The two largest units: `0.42 s`, `12.3 s`, `4 min 05 s`, `1 h 02 min`, `3 d 04 h`.
  package static func duration(seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0, seconds < 1e12 else { return "?" }
    if seconds < 59.95 {
      return String(format: seconds < 0.995 ? "%.2f s" : "%.1f s", seconds)
    }
    let whole = Int(seconds.rounded())
    switch whole {
    case ..<3600: return String(format: "%d min %02d s", whole / 60, whole % 60)
    case ..<86400: return String(format: "%d h %02d min", whole / 3600, whole / 60 % 60)
    default: return String(format: "%d d %02d h", whole / 86400, whole / 3600 % 24)
    }
  }

  /// A fraction from 0 to 1 as a whole percentage, rounded down so that 100 % means all.
  package static func percent(_ fraction: Double) -> String {
    fraction.isFinite ? "\(Int((min(max(fraction, 0), 1) * 100).rounded(.down))) %" : "?"
  }

  /// With so many decimals, or with an exponent where that is too long to read; `infinite` beyond all numbers.
  package static func decimal(_ value: Double, _ decimals: Int) -> String {
    guard !value.isNaN else { return "?" }
    guard value.isFinite else { return value > 0 ? "infinite" : "-infinite" }
    return abs(value) < 1e9 ? String(format: "%.*f", decimals, value) : String(format: "%.4g", value)
  }

  /// A fraction as a percentage with at most one decimal.
  package static func precisePercent(_ fraction: Double) -> String {
    guard fraction.isFinite else { return "?" }
    return String(format: fraction < 0.0995 ? "%.1f %%" : "%.0f %%", fraction * 100)
  }

  /// Four significant digits: 143.2, 0.0125, 5.000e-05, 2.1e+20.
  static func number(_ value: Double) -> String {
    guard value.isFinite else { return "?" }
    if (10_000..<1e15).contains(abs(value)) { return grouped(Int(value.rounded())) }
    return String(format: (1000..<10_000).contains(abs(value)) ? "%.0f" : "%.4g", value)
  }

  /// A comma between thousands: 3,600.
  static func grouped(_ value: Int) -> String {
    var digits = String(value.magnitude)
    var end = digits.endIndex
    while let place = digits.index(end, offsetBy: -3, limitedBy: digits.startIndex),
      place > digits.startIndex
    {
      digits.insert(",", at: place)
      end = place
    }
    return (value < 0 ? "-" : "") + digits
  }

  /// An exponent: ⁻³.
  static func superscript(_ exponent: Int) -> String {
    let digits = Array("⁰¹²³⁴⁵⁶⁷⁸⁹")
    return (exponent < 0 ? "⁻" : "")
      + String(String(exponent.magnitude).compactMap { $0.wholeNumberValue.map { digits[$0] } })
  }

  /// Three significant digits before the largest unit that leaves at least 1.
  private static func scaled(_ value: Double, units: [String], separator: String) -> String {
    guard value.isFinite else { return "?" }
    var scaled = value
    var index = 0
    // 999.5 would round to four digits.
    while abs(scaled) >= (index == 0 ? 999.95 : 999.5), index + 1 < units.count {
      scaled /= 1000
      index += 1
    }
    let isWhole = index == 0 && scaled == scaled.rounded()
    let decimals = isWhole || abs(scaled) >= 99.95 ? 0 : abs(scaled) >= 9.995 ? 1 : 2
    return String(format: "%.*f", decimals, scaled) + separator + units[index]
  }
}
