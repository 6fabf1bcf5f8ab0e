import Foundation

/// Limits of this process by control groups (cgroups, versions 1 and 2): those of its container or batch job.
///
/// A process is in one group per hierarchy; limits of all groups around it hold as well, and the narrowest counts.
package struct ControlGroups: Sendable, Equatable {
  /// A limit of processor time.
  package struct Quota: Sendable, Equatable {
    /// Processor seconds per second.
    package let processors: Double
    /// The directory of the group that sets it.
    package let directory: String
    /// Identifies the group on its host, also in namespaces that call it by different names.
    package let identity: String

    package init(processors: Double, directory: String, identity: String) {
      self.processors = processors
      self.directory = directory
      self.identity = identity
    }
  }

  /// A limit of memory.
  package struct Memory: Sendable, Equatable {
    package let limitByteCount: Int
    /// The bytes that its processes can still allocate: the limit less what is used, without the cache of files.
    package let availableByteCount: Int
    /// The directory of the group that sets it.
    package let directory: String
    /// Identifies the group on its host, also in namespaces that call it by different names.
    package let identity: String
  }

  /// The narrowest limit of processor time; nil if there is none.
  package let quota: Quota?
  /// The limit of memory that leaves the least; nil if there is none.
  package let memory: Memory?

  /// The groups of this process; `root` is where `/proc` and `/sys` are found, for tests.
  package init(root: String = "") {
    let tree = ControlGroupTree(root: root)
    quota = tree.groups(of: "cpu").compactMap(\.quota).min { $0.processors < $1.processors }
    memory = tree.groups(of: "memory").compactMap(\.memory).min {
      $0.availableByteCount < $1.availableByteCount
    }
  }
}

/// The directories of a process's groups, from `/proc/self/cgroup` and `/proc/self/mountinfo`.
private struct ControlGroupTree {
  /// A mounted hierarchy.
  private struct Mount {
    /// The group that is mounted: others of the hierarchy are not visible.
    let group: String
    let directory: String
    let isVersion2: Bool
    let controllers: [Substring]
  }

  private let root: String
  private let mounts: [Mount]
  /// `hierarchy:controllers:path` of the process.
  private let memberships: [(controllers: [Substring], path: String)]

  init(root: String) {
    self.root = root
    mounts = Host.text("\(root)/proc/self/mountinfo").split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ")
      guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 3,
        fields[dash + 1] == "cgroup" || fields[dash + 1] == "cgroup2"
      else { return nil }
      return Mount(
        group: Self.unescaped(fields[3]), directory: Self.unescaped(fields[4]),
        isVersion2: fields[dash + 1] == "cgroup2", controllers: fields[dash + 3].split(separator: ","))
    }
    memberships = Host.text("\(root)/proc/self/cgroup").split(separator: "\n").compactMap { line in
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      return fields.count == 3 ? (fields[1].split(separator: ","), String(fields[2])) : nil
    }
  }

  /// The groups around this process that may limit what a controller controls, the innermost first.
  func groups(of controller: Substring) -> [ControlGroup] {
    mounts.filter { $0.isVersion2 || $0.controllers.contains(controller) }.flatMap { mount in
      let membership = memberships.first {
        mount.isVersion2 ? $0.controllers.isEmpty : $0.controllers.contains(controller)
      }
      guard let membership else { return [ControlGroup]() }
      var names = Self.names(membership.path, below: mount.group)
      var groups: [ControlGroup] = []
      while true {
        let directory = ([mount.directory] + names).joined(separator: "/")
        groups.append(
          ControlGroup(directory: directory, path: root + directory, isVersion2: mount.isVersion2))
        guard names.popLast() != nil else { return groups }
      }
    }
  }

  /// The names from a mounted group down to another; none where the other is not visible below it.
  private static func names(_ path: String, below group: String) -> [String] {
    let (all, outer) = (path.split(separator: "/"), group.split(separator: "/"))
    guard all.starts(with: outer), !all.contains("..") else { return [] }
    return all.dropFirst(outer.count).map(String.init)
  }

  /// A field of mountinfo: spaces and backslashes are written in octal, as in `\040`.
  private static func unescaped(_ field: Substring) -> String {
    let parts = field.split(separator: "\\", omittingEmptySubsequences: false)
    return parts.dropFirst().reduce(into: String(parts[0])) { text, part in
      let code = UInt8(part.prefix(3), radix: 8).map { String(UnicodeScalar($0)) }
      text += code.map { $0 + part.dropFirst(3) } ?? "\\\(part)"
    }
  }
}

/// One group of one hierarchy.
private struct ControlGroup {
  /// The directory, as the process sees it.
  let directory: String
  /// Where its files are read.
  let path: String
  let isVersion2: Bool

  var quota: ControlGroups.Quota? {
    let (time, period): (Double?, Double?)
    if isVersion2 {
      let fields = Host.text("\(path)/cpu.max").split(whereSeparator: \.isWhitespace)
      (time, period) = (fields.first.flatMap { Double($0) }, fields.dropFirst().first.flatMap { Double($0) })
    } else {
      (time, period) = (number("cpu.cfs_quota_us"), number("cpu.cfs_period_us"))
    }
    guard let time, let period, time > 0, period > 0 else { return nil }
    return ControlGroups.Quota(processors: time / period, directory: directory, identity: identity)
  }

  var memory: ControlGroups.Memory? {
    let statistics = Host.text("\(path)/memory.stat").split(separator: "\n").map { $0.split(separator: " ") }
    func statistic(_ name: String) -> Double? {
      statistics.first { $0.count == 2 && $0[0] == name }.flatMap { Double($0[1]) }
    }
    let prefix = isVersion2 ? "" : "total_"
    let limits =
      isVersion2
      ? [number("memory.max"), number("memory.high")]
      // The second is the narrowest of the groups around this one, which a container does not see.
      : [number("memory.limit_in_bytes"), statistic("hierarchical_memory_limit")]
    let used = number(isVersion2 ? "memory.current" : "memory.usage_in_bytes") ?? 0
    guard let limit = limits.compactMap({ $0 }).min(), limit >= 0, limit < Self.noLimit else { return nil }
    // The kernel drops the cache of files before it kills.
    let cache = ["inactive_file", "active_file"].reduce(0) { $0 + (statistic(prefix + $1) ?? 0) }
    let available = min(max(0, limit - max(0, used - cache)), limit)
    return ControlGroups.Memory(
      limitByteCount: Int(limit), availableByteCount: Int(available), directory: directory, identity: identity
    )
  }

  /// Version 1 writes the largest multiple of a page for "no limit".
  private static let noLimit = Double(1 << 60)

  private func number(_ name: String) -> Double? {
    Double(Host.text("\(path)/\(name)").trimmingCharacters(in: .whitespacesAndNewlines))
  }

  private var identity: String {
    var status = stat()
    return stat(path, &status) == 0 ? "\(status.st_dev):\(status.st_ino)" : directory
  }
}
