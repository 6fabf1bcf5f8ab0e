import Foundation
import Platform

/// The configurations that a sweep tries: all combinations of the values of some keys, or a random choice of them.
package struct ConfigurationGrid: Sendable {
  /// One of them.
  package struct Point: Sendable, Equatable {
    /// The name of its run directory; it depends on the keys and its own values alone.
    package let name: String
    /// Each `key.path=value`.
    package let settings: [String]
  }

  /// The values of a key, as `config.yaml` writes them.
  private struct Dimension {
    let key: String
    var values: [String]
  }

  private static let pointLimit = 10_000
  /// A directory's name has at most 255 bytes.
  private static let nameLimit = 200

  /// The value of the last key changes fastest.
  package let points: [Point]

  /// The grid of `settings`, each `key.path=value,value…`; with `count`, as many of its points, chosen by `seed`.
  ///
  /// A greater count chooses the same points and more.
  package init(_ settings: [String], choosing count: Int? = nil, seed: Int = 1) throws {
    let dimensions = try settings.map(Self.dimension)
    for (index, dimension) in dimensions.enumerated()
    where dimensions[..<index].contains(where: { $0.key == dimension.key }) {
      throw MilmError(
        "--set \(dimension.key): expected each key once, with all of its values, found it twice")
    }
    var total = 1
    for dimension in dimensions {
      let product = total.multipliedReportingOverflow(by: dimension.values.count)
      total = product.overflow ? .max : product.partialValue
    }
    let chosen = min(count ?? total, total)
    guard chosen <= Self.pointLimit else {
      throw MilmError(
        "--set: expected at most \(Self.pointLimit) combinations, found \(total == .max ? "more than can be counted" : "\(total)")"
          + "; --random N tries some of them")
    }
    let indices = chosen == total ? Array(0..<total) : Self.choice(of: chosen, from: total, seed: seed)
    points = indices.map { Self.point($0, of: dimensions) }
  }

  private static func dimension(_ setting: String) throws -> Dimension {
    let parts = setting.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2 else { throw MilmError("--set \(setting): expected key.path=value,value…") }
    var dimension = Dimension(key: parts[0], values: [])
    for text in parts[1].split(separator: ",", omittingEmptySubsequences: false) {
      let value = try RunConfiguration.normalized(key: parts[0], value: String(text))
      if !dimension.values.contains(value) { dimension.values.append(value) }
    }
    return dimension
  }

  /// Different indices below `total`, in the order in which they are drawn.
  private static func choice(of count: Int, from total: Int, seed: Int) -> [Int] {
    var generator = SplitMix64(state: UInt64(bitPattern: Int64(seed)))
    var chosen: [Int] = []
    var known: Set<Int> = []
    while chosen.count < count {
      // The high half of the product is uniform up to one part in 2⁶⁴.
      let index = Int(generator.next().multipliedFullWidth(by: UInt64(total)).high)
      if known.insert(index).inserted { chosen.append(index) }
    }
    return chosen
  }

  private static func point(_ index: Int, of dimensions: [Dimension]) -> Point {
    var rest = index
    var values: [String] = []
    for dimension in dimensions.reversed() {
      values.append(dimension.values[rest % dimension.values.count])
      rest /= dimension.values.count
    }
    let pairs = zip(dimensions, values.reversed())
    let name = pairs.map { "\(shortName(of: $0.key, among: dimensions))=\($1)" }.joined(separator: ",")
    return Point(name: fitting(name), settings: pairs.map { "\($0.key)=\($1)" })
  }

  private static func shortName(of key: String, among dimensions: [Dimension]) -> String {
    let last = key.split(separator: ".").last
    let isUnique = dimensions.count { $0.key.split(separator: ".").last == last } == 1
    return isUnique ? String(last ?? "") : key
  }

  private static func fitting(_ name: String) -> String {
    guard !name.isEmpty else { return "run" }
    guard name.utf8.count > nameLimit else { return name }
    return "\(name.prefix(nameLimit - 17))-\(hexadecimal(XXH64.hash(of: name)))"
  }
}
