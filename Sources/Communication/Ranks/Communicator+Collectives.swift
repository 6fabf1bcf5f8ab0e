import Foundation
import Platform

/// Collectives built on `exchange` and `broadcast`, for the rare operations of start, checkpoint and evaluation.
///
/// Each begins with an exchange of headers, in which ranks compare the operation's name: ranks in different operations fail
/// with both names instead of reading each other's bytes. Results are combined in the order of ranks.
extension Communicator {
  /// Waits for all ranks.
  package func barrier(_ name: String, limits: StallLimits? = nil) throws {
    _ = try exchangeHeaders(name, byteCount: 0, limits: limits)
  }

  /// The bytes of all ranks, by rank, on every rank; they may differ in count.
  package func allGather(_ name: String, _ bytes: [UInt8], limits: StallLimits? = nil) throws -> [[UInt8]] {
    let byteCounts = try exchangeHeaders(name, byteCount: bytes.count, limits: limits)
    let memory = UnsafeMutableRawBufferPointer.allocated(byteCount: byteCounts.reduce(0, +))
    defer { free(memory.baseAddress) }
    let slots = memory.split(into: byteCounts)
    slots[rank].copyBytes(from: bytes)
    let outgoing = Array(repeating: UnsafeRawBufferPointer(slots[rank]), count: rankCount)
    _ = try exchange(.control(name), outgoing: outgoing, incoming: slots, limits: limits)
    return slots.map { Array($0) }
  }

  /// Sends large memory of all ranks to `root` without copies; returns the byte counts received there, by rank.
  ///
  /// On `root`, `incoming` has an entry per rank, whose counts must be those the ranks send; its own is filled too.
  /// Elsewhere `incoming` is empty, and so is the result.
  package func gather(
    _ name: String, _ bytes: UnsafeRawBufferPointer, to root: Int,
    into incoming: [UnsafeMutableRawBufferPointer]
  ) throws -> [Int] {
    let byteCounts = try exchangeHeaders(name, byteCount: bytes.count)
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    var outgoing = Array(repeating: nothing, count: rankCount)
    guard rank == root else {
      let noSpace = UnsafeMutableRawBufferPointer(start: nil, count: 0)
      outgoing[root] = bytes
      let incoming = Array(repeating: noSpace, count: rankCount)
      _ = try exchange(.control(name), outgoing: outgoing, incoming: incoming, limits: nil)
      return []
    }
    precondition(incoming.count == rankCount, "gather needs space for every rank")
    for sender in 0..<rankCount where byteCounts[sender] != incoming[sender].count {
      throw MilmError(
        "'\(name)': expected \(incoming[sender].count) bytes from \(label(of: sender)), "
          + "found \(byteCounts[sender])")
    }
    incoming[root].copyMemory(from: bytes)
    _ = try exchange(.control(name), outgoing: outgoing, incoming: incoming, limits: nil)
    return byteCounts
  }

  /// The bytes of all ranks, by rank, on `root`, which may differ in count; empty on the others.
  package func gather(_ name: String, _ bytes: [UInt8], to root: Int) throws -> [[UInt8]] {
    let isRoot = rank == root
    let byteCounts = try exchangeHeaders(name, byteCount: bytes.count).enumerated().map { sender, byteCount in
      isRoot || sender == rank ? byteCount : 0
    }
    let memory = UnsafeMutableRawBufferPointer.allocated(byteCount: byteCounts.reduce(0, +))
    defer { free(memory.baseAddress) }
    let slots = memory.split(into: byteCounts)
    slots[rank].copyBytes(from: bytes)
    var outgoing = Array(repeating: UnsafeRawBufferPointer(start: nil, count: 0), count: rankCount)
    outgoing[root] = UnsafeRawBufferPointer(slots[rank])
    _ = try exchange(.control(name), outgoing: outgoing, incoming: slots, limits: nil)
    return isRoot ? slots.map { Array($0) } : []
  }

  /// The bytes of `root` on every rank; the bytes of the others are ignored.
  package func broadcast(_ name: String, _ bytes: [UInt8], from root: Int) throws -> [UInt8] {
    let byteCounts = try exchangeHeaders(name, byteCount: rank == root ? bytes.count : 0)
    let shared = UnsafeMutableRawBufferPointer.allocated(byteCount: byteCounts[root])
    defer { free(shared.baseAddress) }
    if rank == root { shared.copyBytes(from: bytes) }
    try broadcast(.control(name), shared, from: root)
    return Array(shared)
  }

  /// Copies large memory of `root` over that of all others; counts must be equal.
  package func broadcast(_ name: String, over bytes: UnsafeMutableRawBufferPointer, from root: Int) throws {
    let byteCounts = try exchangeHeaders(name, byteCount: bytes.count)
    for other in 0..<rankCount where byteCounts[other] != bytes.count {
      throw MilmError(
        "'\(name)': expected \(bytes.count) bytes on \(label(of: other)), found \(byteCounts[other])")
    }
    try broadcast(.control(name), bytes, from: root)
  }

  /// Copies memory of one rank over that of another; these two call it, with equal byte counts.
  ///
  /// It is sent in messages of a megabyte, so that other traffic on the link does not wait long behind one; `between` is
  /// called with the seconds each took, and may wait before the next.
  package func move(
    _ name: String, _ bytes: UnsafeMutableRawBufferPointer, from sender: Int, to receiver: Int,
    between: (_ seconds: Double) -> Void = { _ in }
  ) throws {
    let messageByteCount = 1 << 20
    let isSender = rank == sender
    let peers = [min(sender, receiver), max(sender, receiver)]
    let nothing = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    for start in stride(from: 0, to: bytes.count, by: messageByteCount) {
      let began = ContinuousClock.now
      let end = min(start + messageByteCount, bytes.count)
      let message = UnsafeMutableRawBufferPointer(rebasing: bytes[start..<end])
      let byteCounts = try exchange(
        .control(name), with: peers,
        outgoing: peers.map { _ in UnsafeRawBufferPointer(isSender ? message : nothing) },
        incoming: peers.map { _ in isSender ? nothing : message }, limits: nil)
      guard isSender || byteCounts.contains(message.count) else {
        throw MilmError(
          "'\(name)': expected \(message.count) bytes from \(label(of: sender)), found \(byteCounts.max() ?? 0)"
        )
      }
      between((ContinuousClock.now - began).inSeconds)
    }
  }

  /// Elementwise sums over ranks, added in the order of ranks: the same bits on all of them.
  package func sum(_ name: String, _ values: [Double], limits: StallLimits? = nil) throws -> [Double] {
    let all = try allGatherValues(name, values.map(\.bitPattern), limits: limits)
    return values.indices.map { index in
      all.reduce(0) { $0 + Double(bitPattern: $1[index]) }
    }
  }

  /// The smallest of all ranks' values.
  package func minimum(_ name: String, _ value: UInt64) throws -> UInt64 {
    try allGatherValues(name, [value]).reduce(value) { min($0, $1[0]) }
  }

  /// The largest of all ranks' values.
  package func maximum(_ name: String, _ value: UInt64) throws -> UInt64 {
    try allGatherValues(name, [value]).reduce(value) { max($0, $1[0]) }
  }

  /// The values of all ranks, by rank; every rank must pass equally many.
  func allGatherValues(
    _ name: String, _ values: [UInt64], limits: StallLimits? = nil
  ) throws -> [[UInt64]] {
    let blobs = try allGather(name, values.flatMap { $0.littleEndianBytes }, limits: limits)
    return try blobs.enumerated().map { sender, blob in
      guard blob.count == values.count * 8 else {
        throw MilmError(
          "'\(name)': expected \(values.count) values from \(label(of: sender)), found \(blob.count / 8)")
      }
      return blob.withUnsafeBytes { bytes in
        values.indices.map {
          UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self))
        }
      }
    }
  }
}

extension Communicator {
  /// Compares the operation's name with those of the other ranks, and returns the byte counts of all.
  private func exchangeHeaders(_ name: String, byteCount: Int, limits: StallLimits? = nil) throws -> [Int] {
    let headerByteCount = 64
    let headers = UnsafeMutableRawBufferPointer.allocated(byteCount: headerByteCount * rankCount)
    defer { free(headers.baseAddress) }
    headers.initializeMemory(as: UInt8.self, repeating: 0)
    let incoming = headers.split(into: Array(repeating: headerByteCount, count: rankCount))
    let own = incoming[rank]
    own.storeBytes(of: UInt64(byteCount).littleEndian, as: UInt64.self)
    UnsafeMutableRawBufferPointer(rebasing: own[8...]).copyBytes(from: name.utf8.prefix(headerByteCount - 8))
    let outgoing = Array(repeating: UnsafeRawBufferPointer(own), count: rankCount)
    let received = try exchange(.control(name), outgoing: outgoing, incoming: incoming, limits: limits)
    return try (0..<rankCount).map { sender in
      guard sender != rank else { return byteCount }
      let header = UnsafeRawBufferPointer(incoming[sender])
      guard received[sender] == headerByteCount, header[8...].elementsEqual(own[8...]) else {
        let found = String(decoding: header[8..<received[sender].clamped(8, headerByteCount)], as: UTF8.self)
        throw MilmError(
          "\(label(of: sender)) is at '\(found.prefix { $0 != "\0" })', \(label(of: rank)) at '\(name)'")
      }
      return Int(UInt64(littleEndian: header.loadUnaligned(as: UInt64.self)))
    }
  }
}

extension Int {
  fileprivate func clamped(_ lowest: Int, _ highest: Int) -> Int {
    Swift.min(Swift.max(self, lowest), highest)
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Consecutive ranges of the given byte counts.
  fileprivate func split(into byteCounts: [Int]) -> [UnsafeMutableRawBufferPointer] {
    var end = 0
    return byteCounts.map { byteCount in
      end += byteCount
      return UnsafeMutableRawBufferPointer(rebasing: self[(end - byteCount)..<end])
    }
  }
}

extension UInt64 {
  var littleEndianBytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: self >> (8 * $0)) } }
}

extension Communicator {
  /// Checks that ranks hold the same parameters at the end of `step`.
  ///
  /// `hashes` has one entry per tensor, in the same order on all ranks. `replicas` are the sets of ranks that hold the same,
  /// under the name of what they hold, as in "shard 1 of 2"; default: all ranks. The error names the tensors that differ
  /// and the ranks that differ from the majority of their set; all ranks throw the same one.
  package func verifyReplicas(
    hashes: [(name: String, hash: UInt64)], of replicas: [(name: String, ranks: [Int])]? = nil, step: Int
  ) throws {
    let all = try allGatherValues("compare parameters at step \(step)", hashes.map(\.hash))
    let replicas = replicas ?? [(name: "", ranks: Array(0..<rankCount))]
    let differences = replicas.flatMap { replica in
      hashes.indices.compactMap { tensor -> String? in
        let expected = mostCommon(replica.ranks.map { all[$0][tensor] })
        let odd = replica.ranks.filter { all[$0][tensor] != expected }
        guard !odd.isEmpty else { return nil }
        let ranks = odd.map { "\(label(of: $0)) has \(hexadecimal(all[$0][tensor]))" }
        let place = replica.name.isEmpty ? "" : ", \(replica.name)"
        return "\(hashes[tensor].name)\(place): expected hash \(hexadecimal(expected)), "
          + ranks.joined(separator: ", ")
      }
    }
    guard differences.isEmpty else {
      throw MilmError(
        "parameters differ between ranks at step \(step): \(differences.joined(separator: "; "))")
    }
  }
}

/// The most common value; of equally common ones that of the lowest rank.
private func mostCommon(_ values: [UInt64]) -> UInt64 {
  var counts: [UInt64: Int] = [:]
  for value in values { counts[value, default: 0] += 1 }
  let highest = counts.values.max()
  return values.first { counts[$0] == highest } ?? 0
}
