import CMPI
import Foundation
import Platform

extension MPICalls {
  /// The most threads that Open MPI starts in a process.
  private static let threadCount = 3

  /// Starts MPI, once per process, with the settings that this program needs unless the user has set others.
  func start() throws(MilmError) {
    if MPILibrary.isOpenMPI { try Self.setOpenMPIDefaults() }
    // Where MPI cannot start its own threads it prints lines of its own and continues without them.
    try SystemThread.require(Self.threadCount, for: "MPI")
    // MPICH takes SIGUSR1 for news of its launcher; a process without one then waits for it forever.
    var handler = sigaction()
    sigaction(SIGUSR1, nil, &handler)
    defer { sigaction(SIGUSR1, &handler, nil) }
    var granted: CInt = 0
    try call("MPI_Init_thread") { MPI_Init_thread(nil, nil, CInt(MPI_THREAD_SERIALIZED), &granted) }
    guard granted >= CInt(MPI_THREAD_SERIALIZED) else {
      throw MilmError(
        "MPI_Init_thread: expected thread level \(MPI_THREAD_SERIALIZED) (serialized), found \(granted)")
    }
  }

  private static func setOpenMPIDefaults() throws(MilmError) {
    // A singleton process would start Open MPI's daemon, which takes time and needs ssh on the path.
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0)
    // Nor does it need a directory for the sockets and files of several processes, which a read-only /tmp could not hold.
    let environment = ProcessInfo.processInfo.environment
    if isSingleton(environment) {
      setenv("OMPI_MCA_orte_create_session_dirs", "0", 0)
    } else if let directory = environment["PMIX_SERVER_TMPDIR"] {
      try requireWritable(directory)
    }
    // With "put", the reply that a large message waits for queues behind the whole message in the other direction:
    // the two directions of a link then alternate.
    setenv("OMPI_MCA_btl_tcp_flags", "send,inplace", 0)
    // Waiting sleeps (`WaitPace`). A thread that yields its core gets it back only after the computing thread's time
    // slice, and receives nothing until then.
    setenv("OMPI_MCA_mpi_yield_when_idle", "0", 0)
  }

  /// Throws where the launcher's directory for the files of this host's ranks can be neither used nor made.
  ///
  /// MPI itself would print pages.
  private static func requireWritable(_ directory: String) throws(MilmError) {
    var existing = directory
    while case .absent = try FileEntry(at: existing, followingLinks: true) {
      existing = parentDirectory(of: existing)
    }
    guard access(existing, W_OK | X_OK) == -1 else { return }
    let reason = MilmError(existing, cannot: "write")
    throw MilmError(
      "MPI: expected a writable directory for its files, found \(reason); set TMPDIR where the job is started to a directory "
        + "that exists on all its hosts")
  }

  /// Whether no launcher has started this process: each passes variables of its process manager.
  static func isSingleton(_ environment: [String: String]) -> Bool {
    let prefixes = ["OMPI_COMM_WORLD_", "PMIX_", "PMI_", "PMI2_", "ALPS_", "FLUX_TASK_"]
    return !environment.keys.contains { name in prefixes.contains { name.hasPrefix($0) } }
  }

  /// Ends MPI; no other call may follow.
  func finish() throws(MilmError) {
    try call("MPI_Finalize") { MPI_Finalize() }
  }

  /// The MPI library's name and version in its own words.
  static var libraryVersion: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(MPI_MAX_LIBRARY_VERSION_STRING) + 1) {
      buffer in
      var length: CInt = 0
      buffer.initialize(repeating: 0)
      guard MPI_Get_library_version(buffer.baseAddress, &length) == MPI_SUCCESS else { return "unknown" }
      return MPILibrary.name(
        in: String(decoding: buffer.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }
  }
}

/// The MPI library that the program is built with.
package enum MPILibrary {
  /// Whether it is Open MPI; otherwise it is MPICH or a relative of it.
  package static var isOpenMPI: Bool { CMPI_isOpenMPI() }

  /// Name and version in what a library says of itself: the first line up to a comma, with MPICH's device.
  package static func name(in text: String) -> String {
    let lines = text.split(separator: "\n").map {
      $0.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }
    let name = lines.first?.split(separator: ",").first.map(String.init) ?? text
    let device = lines.first { $0.hasPrefix("MPICH Device: ") }?.split(separator: " ").last
    return name.replacing("MPICH Version:", with: "MPICH") + (device.map { ", \($0)" } ?? "")
  }
}

/// The transports Open MPI uses in this process, by its own names; empty with other MPI libraries.
package struct MPITransports: Codable, Sendable, Equatable {
  /// The point-to-point layer, as in `ob1`, `cm` or `ucx`.
  package var pml: [String] = []
  /// Byte transports of `ob1`, as in `self`, `vader` or `tcp`.
  package var btl: [String] = []
  /// Message transports of `cm`, as in `psm2` or `ofi`.
  package var mtl: [String] = []
  /// Interfaces or networks TCP is limited to, `btl_tcp_if_include`; empty where all but the excluded ones are used.
  package var tcpIncluded: [String] = []
  /// Interfaces or networks TCP does not use, `btl_tcp_if_exclude`.
  package var tcpExcluded: [String] = []

  /// Transports to be filled in.
  package init() {}

  /// Whether messages between hosts may go over TCP.
  package var usesTCP: Bool { btl.contains("tcp") }

  /// The components in one line, as arguments of `--mca`.
  package var summary: String {
    [("pml", pml), ("btl", btl), ("mtl", mtl)].filter { !$0.1.isEmpty }
      .map { "\($0.0) \($0.1.joined(separator: ","))" }.joined(separator: ", ")
  }
}

extension MPICalls {
  /// The transports Open MPI has selected: once started, it keeps the variables of selected components only.
  var transports: MPITransports {
    var granted: CInt = 0
    let status = self.status { MPI_T_init_thread(CInt(MPI_THREAD_SERIALIZED), &granted) }
    guard status == MPI_SUCCESS else { return MPITransports() }
    defer { _ = self.status { MPI_T_finalize() } }
    let categories = variableCategories()
    func components(_ framework: String) -> [String] {
      categories.filter { $0.hasPrefix(framework) }.map { String($0.dropFirst(framework.count)) }
        .filter { $0 != "base" }.sorted()
    }
    var transports = MPITransports()
    transports.pml = components("ompi_pml_")
    // Byte and message transports are loaded but unused without the point-to-point layer above them.
    if transports.pml.contains("ob1") { transports.btl = components("opal_btl_") }
    if transports.pml.contains("cm") { transports.mtl = components("ompi_mtl_") }
    guard transports.usesTCP else { return transports }
    transports.tcpIncluded = list("btl_tcp_if_include")
    transports.tcpExcluded = transports.tcpIncluded.isEmpty ? list("btl_tcp_if_exclude") : []
    return transports
  }

  /// The names of the categories of control variables.
  private func variableCategories() -> [String] {
    var count: CInt = 0
    guard status(of: { MPI_T_category_get_num(&count) }) == MPI_SUCCESS else { return [] }
    return (0..<count).compactMap { index in
      var counts: (variables: CInt, performance: CInt, categories: CInt) = (0, 0, 0)
      return text(capacity: 256) { name, capacity in
        self.status {
          MPI_T_category_get_info(
            index, name, &capacity, nil, nil, &counts.variables, &counts.performance, &counts.categories)
        }
      }
    }
  }

  /// The entries of a variable that holds a list; none if there is no such variable.
  private func list(_ name: String) -> [String] {
    var index: CInt = 0
    var variable = CMPI_Variable()
    var capacity: CInt = 0
    guard status(of: { MPI_T_cvar_get_index(name, &index) }) == MPI_SUCCESS,
      status(of: { CMPI_variableOpen(index, &variable, &capacity) }) == MPI_SUCCESS
    else { return [] }
    defer { _ = self.status { CMPI_variableClose(&variable) } }
    let value = text(capacity: capacity) { value, _ in self.status { CMPI_variableRead(variable, value) } }
    return (value ?? "").split(separator: ",").map(String.init)
  }

  /// A string that `fill` writes into memory of this capacity; nil where its status is not success.
  private func text(
    capacity: CInt, _ fill: (UnsafeMutablePointer<CChar>?, inout CInt) -> CInt
  ) -> String? {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(capacity) + 1) { buffer in
      var capacity = capacity
      buffer.initialize(repeating: 0)
      guard fill(buffer.baseAddress, &capacity) == MPI_SUCCESS else { return nil }
      return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
  }
}
