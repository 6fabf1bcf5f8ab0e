import Foundation
import Platform
import TestSupport
import Testing

/// Limits of containers and batch jobs, read from a copy of `/proc` and `/sys`.
struct ControlGroupsTests {
  private let root: TemporaryFolder

  init() throws { root = try TemporaryFolder() }

  private func write(_ files: [String: String]) throws {
    for (name, text) in files {
      let folder = URL(filePath: root.file(name)).deletingLastPathComponent().path
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      try root.write(text + "\n", to: name)
    }
  }

  private func mounts(_ lines: String...) throws {
    try write(["proc/self/mountinfo": lines.joined(separator: "\n")])
  }

  @Test func withoutControlGroupsThereIsNoLimit() throws {
    #expect(ControlGroups(root: root.path).quota == nil && ControlGroups(root: root.path).memory == nil)
    try mounts("22 1 0:5 / /proc rw - proc proc rw", "broken", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2")
    try write(["proc/self/cgroup": "0::/a\nnonsense"])
    #expect(ControlGroups(root: root.path).quota == nil && ControlGroups(root: root.path).memory == nil)
  }

  /// A job of Slurm or systemd: the narrowest limit of the groups around the process counts, wherever it is.
  @Test(arguments: [
    ("50000 100000", "max 100000", 0.5), ("max 100000", "150000 100000", 1.5), ("300000 100000", "max", 3),
    ("300000 100000", "200000 100000", 2),
  ])
  func nestedQuotasOfVersion2(inner: String, outer: String, expected: Double) throws {
    try mounts("41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate")
    try write([
      "proc/self/cgroup": "0::/job/step/task",
      "sys/fs/cgroup/job/step/task/cpu.max": "max 100000",
      "sys/fs/cgroup/job/step/cpu.max": inner, "sys/fs/cgroup/job/cpu.max": outer,
    ])
    #expect(ControlGroups(root: root.path).quota?.processors == expected)
  }

  @Test func theGroupOfVersion2ThatLeavesTheLeastMemoryCounts() throws {
    try mounts("41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    try write([
      "proc/self/cgroup": "0::/job/step",
      "sys/fs/cgroup/job/step/memory.max": "max", "sys/fs/cgroup/job/step/memory.current": "900",
      "sys/fs/cgroup/job/memory.max": "5000", "sys/fs/cgroup/job/memory.high": "4000",
      "sys/fs/cgroup/job/memory.current": "3000",
      "sys/fs/cgroup/job/memory.stat": "anon 1200\nfile 1800\ninactive_file 1000\nactive_file 800",
    ])
    let memory = try #require(ControlGroups(root: root.path).memory)
    // The cache of files is dropped when memory is needed.
    #expect(memory.limitByteCount == 4000 && memory.availableByteCount == 2800)
    #expect(memory.directory == "/sys/fs/cgroup/job")
  }

  /// Version 1 without a namespace: the container's own group is mounted, and named by its path outside.
  @Test func aContainerOfVersion1() throws {
    try mounts(
      "33 31 0:30 /docker/4f /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct",
      #"35 31 0:32 /docker/4f /sys/fs/cgroup/memory\040here ro - cgroup cgroup rw,memory"#)
    try write([
      "proc/self/cgroup": "4:memory:/docker/4f/part\n1:cpu,cpuacct:/docker/4f\n0::/",
      "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000",
      "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
      "sys/fs/cgroup/memory here/part/memory.limit_in_bytes": "9223372036854771712",
      "sys/fs/cgroup/memory here/part/memory.usage_in_bytes": "700",
      "sys/fs/cgroup/memory here/part/memory.stat": "hierarchical_memory_limit 1000\ntotal_inactive_file 100",
      "sys/fs/cgroup/memory here/memory.limit_in_bytes": "1000",
      "sys/fs/cgroup/memory here/memory.usage_in_bytes": "950",
    ])
    let groups = ControlGroups(root: root.path)
    #expect(groups.quota?.processors == 2.5)
    #expect(groups.memory?.availableByteCount == 50 && groups.memory?.limitByteCount == 1000)
  }

  @Test func noQuotaOfVersion1AndAGroupOutsideTheMountAreNoLimit() throws {
    try mounts(
      "33 31 0:30 / /cpu rw - cgroup cgroup rw,cpu",
      "41 31 0:38 /inside /unified rw - cgroup2 cgroup2 rw")
    try write([
      "proc/self/cgroup": "1:cpu:/\n0::/../outside", "cpu/cpu.cfs_quota_us": "-1",
      "cpu/cpu.cfs_period_us": "100000", "unified/memory.max": "max",
    ])
    #expect(ControlGroups(root: root.path).quota == nil && ControlGroups(root: root.path).memory == nil)
  }
}
