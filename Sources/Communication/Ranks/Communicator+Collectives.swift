import Platform

/// What is built on `exchange` and `broadcast`: rare operations of start, checkpoint and evaluation.
///
/// Each begins with a meeting, in which the ranks compare the operation's name, so that two that took
/// different roads say so instead of reading each other's bytes. Results are combined in the order of ranks.
extension Communicator {
  /// Waits until all ranks have come here.
  public func barrier(_ name: String, limits: StallLimits? = nil) throws {
    _ = try meet(name, byteCount: 0, limits: limits)
  }

  /// Gives every rank the bytes of all ranks, by rank; they may differ in count.
  public func allGather(_ name: String, _ bytes: [UInt8], limits: StallLimits? = nil) throws -> [[UInt8]] {
    let byteCounts = try meet(name, byteCount: bytes.count, limits: limits)
    let memory = UnsafeMutableRawBufferPointer.allocate(
      byteCount: byteCounts.reduce(0, +), alignment: 64)
    defer { memory.deallocate() }
    let slots = memory.cut(into: byteCounts)
    slots[rank].copyBytes(from: bytes)
    let outgoing = Array(repeating: UnsafeRawBufferPointer(slots[rank]), count: rankCount)
    _ = try exchange(.control(name), outgoing: outgoing, incoming: slots, limits: limits)
    return slots.map { Array($0) }
  }

  /// Sends large memory of all ranks to `root`, without copies;
  /// gives the byte counts received there, by rank.
  ///
  /// On `root`, `incoming` has an entry a rank, whose counts must be those the ranks send;
  /// its own is filled too. Elsewhere `incoming` is empty, and so is the answer.
  public func gather(
    _ name: String, _ bytes: UnsafeRawBufferPointer, to root: Int,
    into incoming: [UnsafeMutableRawBufferPointer]
  ) throws -> [Int] {
    let byteCounts = try meet(name, byteCount: bytes.count)
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

  /// Gives `root` the bytes of all ranks, by rank, which may differ in count; the others get none.
  public func gather(_ name: String, _ bytes: [UInt8], to root: Int) throws -> [[UInt8]] {
    let isRoot = rank == root
    let byteCounts = try meet(name, byteCount: bytes.count).enumerated().map { sender, byteCount in
      isRoot || sender == rank ? byteCount : 0
    }
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCounts.reduce(0, +), alignment: 64)
    defer { memory.deallocate() }
    let slots = memory.cut(into: byteCounts)
    slots[rank].copyBytes(from: bytes)
    var outgoing = Array(repeating: UnsafeRawBufferPointer(start: nil, count: 0), count: rankCount)
    outgoing[root] = UnsafeRawBufferPointer(slots[rank])
    _ = try exchange(.control(name), outgoing: outgoing, incoming: slots, limits: nil)
    return isRoot ? slots.map { Array($0) } : []
  }

  /// Gives every rank the bytes of `root`; what the others pass is ignored.
  public func broadcast(_ name: String, _ bytes: [UInt8], from root: Int) throws -> [UInt8] {
    let byteCounts = try meet(name, byteCount: rank == root ? bytes.count : 0)
    let shared = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCounts[root], alignment: 64)
    defer { shared.deallocate() }
    if rank == root { shared.copyBytes(from: bytes) }
    try broadcast(.control(name), shared, from: root)
    return Array(shared)
  }

  /// Copies large memory of `root` over that of all others, without other copies; counts must be equal.
  public func broadcast(_ name: String, over bytes: UnsafeMutableRawBufferPointer, from root: Int) throws {
    let byteCounts = try meet(name, byteCount: bytes.count)
    for other in 0..<rankCount where byteCounts[other] != bytes.count {
      throw MilmError(
        "'\(name)': expected \(bytes.count) bytes on \(label(of: other)), found \(byteCounts[other])")
    }
    try broadcast(.control(name), bytes, from: root)
  }

  /// Copies memory of one rank over that of another, without other copies; these two call it, with as many bytes.
  ///
  /// It goes in pieces of a megabyte, so that what else is on the link does not wait long behind one; `between` hears how
  /// many seconds each took, and may wait before the next.
  public func move(
    _ name: String, _ bytes: UnsafeMutableRawBufferPointer, from sender: Int, to receiver: Int,
    between: (_ seconds: Double) -> Void = { _ in }
  ) throws {
    let pieceByteCount = 1 << 20
    let isSender = rank == sender
    let peers = [min(sender, receiver), max(sender, receiver)]
    let nothing = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    for start in stride(from: 0, to: bytes.count, by: pieceByteCount) {
      let began = ContinuousClock.now
      let end = min(start + pieceByteCount, bytes.count)
      let piece = UnsafeMutableRawBufferPointer(rebasing: bytes[start..<end])
      let byteCounts = try exchange(
        .control(name), with: peers,
        outgoing: peers.map { _ in UnsafeRawBufferPointer(isSender ? piece : nothing) },
        incoming: peers.map { _ in isSender ? nothing : piece }, limits: nil)
      guard isSender || byteCounts.contains(piece.count) else {
        throw MilmError(
          "'\(name)': expected \(piece.count) bytes from \(label(of: sender)), found \(byteCounts.max() ?? 0)"
        )
      }
      between((ContinuousClock.now - began).inSeconds)
    }
  }

  /// The sums over ranks, element by element, added in the order of ranks: the same bits on all of them.
  public func sum(_ name: String, _ values: [Double], limits: StallLimits? = nil) throws -> [Double] {
    let all = try allGatherWords(name, values.map(\.bitPattern), limits: limits)
    return values.indices.map { index in
      all.reduce(0) { $0 + Double(bitPattern: $1[index]) }
    }
  }

  /// The smallest of all ranks' values.
  public func minimum(_ name: String, _ value: UInt64) throws -> UInt64 {
    try allGatherWords(name, [value]).reduce(value) { min($0, $1[0]) }
  }

  /// The largest of all ranks' values.
  public func maximum(_ name: String, _ value: UInt64) throws -> UInt64 {
    try allGatherWords(name, [value]).reduce(value) { max($0, $1[0]) }
  }

  /// Whether all ranks pass the same value.
  public func allEqual(_ name: String, _ value: UInt64) throws -> Bool {
    try allGatherWords(name, [value]).allSatisfy { $0[0] == value }
  }

  /// The words of all ranks, by rank; every rank must pass equally many.
  func allGatherWords(
    _ name: String, _ words: [UInt64], limits: StallLimits? = nil
  ) throws -> [[UInt64]] {
    let blobs = try allGather(name, words.flatMap { $0.littleEndianBytes }, limits: limits)
    return try blobs.enumerated().map { sender, blob in
      guard blob.count == words.count * 8 else {
        throw MilmError(
          "'\(name)': expected \(words.count) values from \(label(of: sender)), found \(blob.count / 8)")
      }
      return blob.withUnsafeBytes { bytes in
        words.indices.map {
          UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self))
        }
      }
    }
  }
}

extension Communicator {
  /// Compares the operation's name with those of the other ranks, and gives the byte counts of all.
  private func meet(_ name: String, byteCount: Int, limits: StallLimits? = nil) throws -> [Int] {
    let cardLength = 64
    let cards = UnsafeMutableRawBufferPointer.allocate(byteCount: cardLength * rankCount, alignment: 64)
    defer { cards.deallocate() }
    cards.initializeMemory(as: UInt8.self, repeating: 0)
    let incoming = cards.cut(into: Array(repeating: cardLength, count: rankCount))
    let own = incoming[rank]
    own.storeBytes(of: UInt64(byteCount).littleEndian, as: UInt64.self)
    UnsafeMutableRawBufferPointer(rebasing: own[8...]).copyBytes(from: name.utf8.prefix(cardLength - 8))
    let outgoing = Array(repeating: UnsafeRawBufferPointer(own), count: rankCount)
    let received = try exchange(.control(name), outgoing: outgoing, incoming: incoming, limits: limits)
    return try (0..<rankCount).map { sender in
      guard sender != rank else { return byteCount }
      let card = UnsafeRawBufferPointer(incoming[sender])
      guard received[sender] == cardLength, card[8...].elementsEqual(own[8...]) else {
        let found = String(decoding: card[8..<received[sender].clamped(8, cardLength)], as: UTF8.self)
        throw MilmError(
          "\(label(of: sender)) is at '\(found.prefix { $0 != "\0" })', \(label(of: rank)) at '\(name)'")
      }
      return Int(UInt64(littleEndian: card.loadUnaligned(as: UInt64.self)))
    }
  }
}

extension Int {
  fileprivate func clamped(_ lowest: Int, _ highest: Int) -> Int {
    Swift.min(Swift.max(self, lowest), highest)
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Consecutive pieces of the given byte counts.
  fileprivate func cut(into byteCounts: [Int]) -> [UnsafeMutableRawBufferPointer] {
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
