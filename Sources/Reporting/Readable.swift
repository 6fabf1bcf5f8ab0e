import Foundation

/// Numbers as a person reads them in a progress line or a table; `?` for what is not a finite number.
public enum Readable {
  /// A count with three digits and its thousands, millions or billions: `950`, `12.3k`, `4.56M`.
  public static func count(_ value: Double) -> String {
    scaled(value, units: ["", "k", "M", "G", "T"], separator: "")
  }

  /// A number of bytes in powers of 1000: `512 B`, `34.5 MB`.
  public static func byteCount(_ value: Int) -> String {
    scaled(Double(value), units: ["B", "kB", "MB", "GB", "TB"], separator: " ")
  }

  /// A duration by its two largest units: `0.42 s`, `12.3 s`, `4 min 05 s`, `1 h 02 min`, `3 d 04 h`.
  public static func duration(seconds: Double) -> String {
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

  /// A share between 0 and 1 as whole per cent, rounded down so that only the whole is 100 %.
  public static func percent(_ share: Double) -> String {
    share.isFinite ? "\(Int((min(max(share, 0), 1) * 100).rounded(.down))) %" : "?"
  }

  /// Three significant digits before a unit, the largest that leaves 1 or more.
  private static func scaled(_ value: Double, units: [String], separator: String) -> String {
    guard value.isFinite else { return "?" }
    var scaled = value
    var index = 0
    // 999.5 would be printed with four digits.
    while abs(scaled) >= (index == 0 ? 999.95 : 999.5), index + 1 < units.count {
      scaled /= 1000
      index += 1
    }
    let isWhole = index == 0 && scaled == scaled.rounded()
    let decimals = isWhole || abs(scaled) >= 99.95 ? 0 : abs(scaled) >= 9.995 ? 1 : 2
    return String(format: "%.*f", decimals, scaled) + separator + units[index]
  }
}
