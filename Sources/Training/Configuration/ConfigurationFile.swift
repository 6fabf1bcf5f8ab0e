import Checkpoints
import Communication
import Foundation
import Platform
import Yams

extension RunConfiguration {
  /// The size limit of a configuration, in bytes, far above any real one.
  private static let byteCountLimit = 1 << 20

  /// Reads a YAML (or JSON) file; keys left out have their defaults; then `settings`, each
  /// `key.path=value`, are applied.
  ///
  /// Unknown keys, wrong types and impossible values throw a line with the key, its place
  /// and the nearest known key.
  package init(contentsOf path: String, settings: [String] = []) throws {
    let text = try OpenFile.stream(path, action: "read the configuration")
      .readText(limit: Self.byteCountLimit)
    try self.init(yaml: text, source: path, settings: settings)
  }

  /// Reads YAML text; `source` is its name in errors.
  package init(yaml: String, source: String, settings: [String] = []) throws {
    self.init()
    var reader = ConfigurationReader(source: source)
    try reader.read(yaml, into: &self)
    for setting in settings { try reader.apply(setting, to: &self) }
    try checkCombinations(source: source)
  }

  /// Throws where one of `settings` names no key or a value that the key does not take.
  package static func check(settings: [String]) throws {
    var configuration = RunConfiguration()
    let reader = ConfigurationReader(source: "--set")
    for setting in settings { try reader.apply(setting, to: &configuration) }
  }

  /// A value of a key as `config.yaml` writes it; throws where it is none, or there is no such key.
  static func normalized(key: String, value: String) throws -> String {
    var configuration = RunConfiguration()
    try ConfigurationReader(source: "--set").apply("\(key)=\(value)", to: &configuration)
    return ConfigurationKey.all.first { $0.path == key }?.show(configuration) ?? value
  }

  /// The complete configuration as YAML, as in `config.yaml`.
  package var yaml: String {
    var root = Node.Mapping([])
    for key in ConfigurationKey.all {
      let names = key.path.split(separator: ".").map(String.init)
      insert(key.show(self), at: names, in: &root)
    }
    // A tree of strings always serializes.
    return (try? Yams.serialize(node: Node.mapping(root))) ?? ""
  }

  private func insert(_ value: String, at names: [String], in mapping: inout Node.Mapping) {
    guard names.count > 1 else {
      mapping[Node(names[0])] = Node(value)
      return
    }
    var inner = mapping[Node(names[0])]?.mapping ?? Node.Mapping([])
    insert(value, at: Array(names.dropFirst()), in: &inner)
    mapping[Node(names[0])] = Node.mapping(inner)
  }

  /// The complete configuration as JSON, as in the metadata of `model.safetensors`.
  package var json: String {
    var root: [String: Any] = [:]
    for key in ConfigurationKey.all {
      let text = key.show(self)
      let value: any Sendable = Int(text).map { $0 as any Sendable } ?? Double(text) ?? Bool(text) ?? text
      Self.insert(value, at: key.path.split(separator: ".").map(String.init)[...], in: &root)
    }
    // A tree of strings, numbers and booleans always serializes.
    let data = try? JSONSerialization.data(withJSONObject: root, options: .sortedKeys)
    return data.map { String(decoding: $0, as: UTF8.self) } ?? ""
  }

  private static func insert(_ value: Any, at names: ArraySlice<String>, in object: inout [String: Any]) {
    guard let name = names.first else { return }
    guard names.count > 1 else {
      object[name] = value
      return
    }
    var inner = object[name] as? [String: Any] ?? [:]
    insert(value, at: names.dropFirst(), in: &inner)
    object[name] = inner
  }

  /// The first difference that prevents resuming, with both values; nil where there is none.
  package func differenceThatForbidsResuming(from earlier: RunConfiguration) -> String? {
    differences(from: earlier) { !$0.mayDifferOnResume }.first
  }

  /// The differences with which a run may resume, each with both values.
  package func changesOnResume(from earlier: RunConfiguration) -> [String] {
    differences(from: earlier, where: \.mayDifferOnResume)
  }

  private func differences(
    from earlier: RunConfiguration, where isIncluded: (ConfigurationKey) -> Bool
  ) -> [String] {
    var earlier = earlier
    // Resuming with `auto` keeps the placement that the run has.
    if exchange.vocabulary == .auto { earlier.exchange.vocabulary = .auto }
    return ConfigurationKey.all.filter { isIncluded($0) && $0.show(self) != $0.show(earlier) }
      .map { "\($0.path): \($0.show(earlier)) in the run, \($0.show(self)) now" }
  }

  /// Checks conditions on several keys.
  private func checkCombinations(source: String) throws {
    let tokenCount = training.lanes.multipliedReportingOverflow(by: training.segment * training.accumulate)
    guard !tokenCount.overflow, tokenCount.partialValue <= 1 << 30 else {
      throw MilmError(
        "\(source): training.lanes × segment × accumulate: expected at most \(1 << 30) tokens per step")
    }
    if let reason = model.reasonAgainst { throw MilmError("\(source): \(reason)") }
    if let codec = exchange.codec, !exchange.allowLoss, !codec.isExact {
      throw MilmError(
        "\(source): exchange.codec \(codec.rawValue) rounds, but exchange.allowLoss is false: "
          + "expected none, lossless or auto")
    }
    if let codec = exchange.codec, let reason = exchange.incompatibility(with: optimizer, codec: codec) {
      throw MilmError("\(source): \(reason)")
    }
    if exchange.stallAbortSeconds < exchange.stallWarnSeconds {
      throw MilmError(
        "\(source): exchange.stallAbortSeconds (\(exchange.stallAbortSeconds)) is below "
          + "exchange.stallWarnSeconds (\(exchange.stallWarnSeconds))")
    }
  }
}

extension ConfigurationKey {
  /// The keys whose path begins with `prefix`; throws, with the nearest ones, where there is none.
  package static func all(beginningWith prefix: String) throws -> [ConfigurationKey] {
    try ConfigurationReader(source: "keys").keys(beginningWith: prefix)
  }
}

/// Walks a YAML tree along `ConfigurationKey.all`.
private struct ConfigurationReader {
  private static let nestingLimit = 16
  private static let markerLimit = 4000
  /// Where a value, or a key, repeats others that repeat others, its size grows by a power of this.
  private static let aliasLimit = 16

  let source: String
  let keys = ConfigurationKey.all

  mutating func read(_ yaml: String, into configuration: inout RunConfiguration) throws {
    guard !isNestedTooDeep(yaml) else {
      throw MilmError("\(source): expected sections in sections, found deeper nesting")
    }
    guard aliasCount(yaml) <= Self.aliasLimit else {
      throw MilmError(
        "\(source): expected at most \(Self.aliasLimit) aliases (*name), found \(aliasCount(yaml))")
    }
    let root: Node?
    do {
      root = try Yams.compose(yaml: yaml)
    } catch {
      let line = "\(error)".split(whereSeparator: \.isNewline).joined(separator: " ")
      throw MilmError("\(source): expected YAML, found \(line)")
    }
    guard let root else { return }
    try read(root, path: "", depth: 0, into: &configuration)
  }

  private func read(
    _ node: Node, path: String, depth: Int, into configuration: inout RunConfiguration
  ) throws {
    guard let mapping = node.mapping, depth < 4 else {
      throw path.isEmpty
        ? MilmError("\(place(node)): expected keys under the top level")
        : MilmError("\(place(node)): \(sectionSentence(path)), found one value")
    }
    for (nameNode, value) in mapping {
      guard let name = nameNode.scalar?.string else {
        throw MilmError("\(place(nameNode)): expected a plain key")
      }
      let keyPath = path.isEmpty ? name : "\(path).\(name)"
      if let key = keys.first(where: { $0.path == keyPath }) {
        try set(key, to: value, in: &configuration)
      } else if !keysInside(keyPath).isEmpty {
        try read(value, path: keyPath, depth: depth + 1, into: &configuration)
      } else {
        throw unknown(keyPath, at: place(nameNode))
      }
    }
  }

  private func set(
    _ key: ConfigurationKey, to node: Node, in configuration: inout RunConfiguration
  ) throws {
    guard let scalar = node.scalar else {
      throw MilmError("\(place(node)): \(key.path): expected one value, found a list or keys")
    }
    guard key.read(scalar.string, &configuration) else {
      throw MilmError("\(place(node)): \(key.path): expected \(key.values), found '\(scalar.string)'")
    }
  }

  /// Applies `key.path=value`.
  func apply(_ setting: String, to configuration: inout RunConfiguration) throws {
    let parts = setting.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2 else {
      throw MilmError("--set \(setting): expected key.path=value")
    }
    guard let key = keys.first(where: { $0.path == parts[0] }) else {
      throw keysInside(parts[0]).isEmpty
        ? unknown(parts[0], at: "--set \(setting)")
        : MilmError("--set \(setting): \(sectionSentence(parts[0]))")
    }
    guard key.read(parts[1], &configuration) else {
      throw MilmError("--set \(setting): \(key.path): expected \(key.values), found '\(parts[1])'")
    }
  }

  /// Whether more than a few levels are open at once: the parser recurses into each.
  private func isNestedTooDeep(_ yaml: String) -> Bool {
    var open = 0
    var markers = 0
    for byte in yaml.utf8 {
      switch byte {
      case UInt8(ascii: "["), UInt8(ascii: "{"): open += 1
      case UInt8(ascii: "]"), UInt8(ascii: "}"): open = max(0, open - 1)
      // Each marker of a line such as "- - -" or "? ? ?" opens a level, and so may lines that are indented further and further.
      case UInt8(ascii: "-"), UInt8(ascii: "?"), UInt8(ascii: ":"): markers += 1
      default: break
      }
      if open > Self.nestingLimit || markers > Self.markerLimit { return true }
    }
    return false
  }

  /// Upper bound of the number of YAML aliases: stars at the beginning of a word, outside of comments.
  private func aliasCount(_ yaml: String) -> Int {
    var (count, previous, isComment) = (0, UInt8(ascii: "\n"), false)
    for byte in yaml.utf8 {
      let startsWord =
        previous <= 0x20 || [UInt8(ascii: "["), UInt8(ascii: "{"), UInt8(ascii: ",")].contains(previous)
      if byte == UInt8(ascii: "\n") { isComment = false }
      if byte == UInt8(ascii: "#"), previous <= 0x20 { isComment = true }
      if byte == UInt8(ascii: "*"), startsWord, !isComment { count += 1 }
      previous = byte
    }
    return count
  }

  /// The keys whose path begins with `prefix`; throws where there is none.
  func keys(beginningWith prefix: String) throws -> [ConfigurationKey] {
    let found = keys.filter { $0.path.hasPrefix(prefix) }
    guard !found.isEmpty else { throw unknown(prefix, at: source) }
    return found
  }

  private func keysInside(_ section: String) -> [String] {
    keys.map(\.path).filter { $0.hasPrefix(section + ".") }
  }

  private func sectionSentence(_ section: String) -> String {
    "\(section) is a section: expected \(alternatives(keysInside(section)))"
  }

  private func unknown(_ path: String, at place: String) -> MilmError {
    let path = String(path.prefix(100))
    let nearest = nearestNames(to: path)
    let phrase = nearest.count == 1 ? "nearest known key is" : "nearest known keys are"
    return MilmError("\(place): unknown key \(path); the \(phrase) \(alternatives(nearest, "and"))")
  }

  /// Keys and sections that end with the path, that have its last name, or that are spelled most alike; of these, the ones in
  /// the fewest sections.
  private func nearestNames(to path: String) -> [String] {
    let names = allNearestNames(to: path)
    func depth(_ name: String) -> Int { name.split(separator: ".").count }
    let least = names.map(depth).min()
    return names.filter { depth($0) == least }
  }

  private func allNearestNames(to path: String) -> [String] {
    let names = Set(keys.flatMap { sections(of: $0.path) }).sorted()
    let ending = names.filter { $0.hasSuffix(".\(path)") }
    if !ending.isEmpty { return ending }
    if let last = path.split(separator: ".").last, path.contains(".") {
      let alike = names.filter { $0.hasSuffix(".\(last)") }
      if !alike.isEmpty { return alike }
    }
    let whole = nearest(to: path, among: names)
    // A misspelled key without its section.
    let ends = names.flatMap { name in endings(of: name).map { (name, $0) } }
    let end = nearest(to: path, among: ends.map(\.1))
    guard end.distance < whole.distance else { return Array(whole.names.prefix(1)) }
    return ends.filter { end.names.contains($0.1) }.map(\.0)
  }

  /// The path without its first names, down to the last one.
  private func endings(of path: String) -> [String] {
    let names = path.split(separator: ".")
    return names.indices.dropFirst().map { names[$0...].joined(separator: ".") }
  }

  /// All prefixes of a path: `a`, `a.b`, `a.b.c`.
  private func sections(of path: String) -> [String] {
    let names = path.split(separator: ".")
    return (1...names.count).map { names.prefix($0).joined(separator: ".") }
  }

  private func place(_ node: Node) -> String {
    node.mark.map { "\(source):\($0.line)" } ?? source
  }
}

extension RunConfiguration {
  /// The configuration that rank 0 reads from a file, on all ranks; the others need not have the file.
  package static func shared(
    fromRank0File path: String, settings: [String], ranks: Ranks
  ) throws -> RunConfiguration {
    let own = try ranks.onCoordinator("read the configuration") {
      try RunConfiguration(contentsOf: path, settings: settings)
    }
    return try shared(own, source: path, ranks: ranks)
  }

  /// The configuration of a checkpoint that rank 0 alone has, on all ranks.
  package static func shared(
    fromRank0Checkpoint checkpoint: Checkpoint?, settings: [String] = [], ranks: Ranks
  ) throws -> RunConfiguration {
    let own = try ranks.onCoordinator("read the configuration") {
      try checkpoint.map { try RunConfiguration($0, settings: settings) }
    }
    return try shared(own ?? nil, source: "rank 0", ranks: ranks)
  }

  private static func shared(_ own: RunConfiguration?, source: String, ranks: Ranks) throws
    -> RunConfiguration
  {
    let yaml = try ranks.control.broadcast(
      "configuration", Array((own?.yaml ?? "").utf8), from: Ranks.coordinator)
    return try own ?? RunConfiguration(yaml: String(decoding: yaml, as: UTF8.self), source: source)
  }

  /// The configuration that a checkpoint was written with.
  package init(_ checkpoint: Checkpoint, settings: [String] = []) throws {
    try self.init(
      yaml: checkpoint.state.configuration, source: "the configuration in \(checkpoint.path)",
      settings: settings)
  }
}
