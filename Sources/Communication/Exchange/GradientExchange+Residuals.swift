import CKernels
import Platform

/// One array of residuals as a checkpoint holds them, each as long as the flat gradient.
public enum ResidualPart: Hashable, Sendable {
  /// What a rank's own encodings have lost, in units of that rank's gradient.
  case sender(rank: Int)
  /// What the owners' encodings of the mean have lost, in units of the mean gradient.
  case owner
}

/// Residuals as they were saved, read one array at a time.
public struct SavedResiduals {
  /// The node of each rank of the run that saved them.
  public let nodeOfRank: [Int]
  /// Reads one array, as long as the flat gradient.
  public let read: (ResidualPart) throws -> [Float]
  /// The number of ranks of the run that saved them.
  public var rankCount: Int { nodeOfRank.count }

  /// Residuals of ranks that were on these nodes; a rank a node unless said otherwise.
  public init(rankCount: Int, nodeOfRank: [Int]? = nil, read: @escaping (ResidualPart) throws -> [Float]) {
    self.nodeOfRank = nodeOfRank ?? Array(0..<rankCount)
    self.read = read
  }
}

/// Residuals on their way to and from checkpoints; called between steps, by all ranks together.
extension GradientExchange {
  /// Whether there is nothing to save; the same on all ranks.
  public var residualsAreZero: Bool { residuals?.areZero ?? true }

  /// What this rank's encodings have lost, one element for each of the flat gradient;
  /// empty if they lose nothing.
  public var senderResidual: UnsafeBufferPointer<Float> {
    residuals?.sender.committed.values ?? UnsafeBufferPointer(start: nil, count: 0)
  }

  /// What the encodings of the means this rank owns have lost, in the order of its parts;
  /// empty if they lose nothing.
  public var ownerResidual: UnsafeBufferPointer<Float> {
    residuals?.owner.committed.values ?? UnsafeBufferPointer(start: nil, count: 0)
  }

  /// Gives all ranks' residuals to `save` on rank `root`: each sender's, by rank,
  /// then the owners', put together.
  ///
  /// Only one array is in memory at a time. Residuals that are zero on all ranks are not given at all.
  public func gatherResiduals(
    over control: any Communicator, to root: Int,
    save: (ResidualPart, UnsafeBufferPointer<Float>) throws -> Void
  ) throws {
    guard let residuals, !residuals.areZero else { return }
    let isRoot = communicator.rank == root
    let flat = FloatBuffer(count: isRoot ? elementCount : 0)
    defer { withExtendedLifetime(flat) {} }
    for sender in ranks {
      try transfer(
        residuals.sender.committed, from: sender, into: flat, on: root, count: elementCount, over: control)
      if isRoot { try save(.sender(rank: sender), flat.values) }
    }
    let compact = FloatBuffer(count: isRoot ? (ranks.map(ownCount(of:)).max() ?? 0) : 0)
    defer { withExtendedLifetime(compact) {} }
    for owner in ranks {
      try transfer(
        residuals.owner.committed, from: owner, into: compact, on: root, count: ownCount(of: owner),
        over: control)
      guard isRoot else { continue }
      forEachPart(of: owner) { part, position in
        (flat.start + part.lowerBound).update(from: compact.start + position, count: part.count)
      }
    }
    if isRoot { try save(.owner, flat.values) }
  }

  /// Takes up saved residuals: all ranks call it, rank `root` with `saved`,
  /// which may be nil if they were zero.
  ///
  /// With ranks or nodes other than those of the run that saved them, the senders' residuals ÷ the ranks there were,
  /// plus the owners', become the owners': what the mean gradient is owed is kept.
  public func restoreResiduals(_ saved: SavedResiduals?, over control: any Communicator, from root: Int)
    throws
  {
    let isRoot = communicator.rank == root
    let isSameLayout = saved.map { NodeLayout(nodeOfRank: $0.nodeOfRank) == layout } ?? false
    let known: UInt64 = isRoot && saved != nil ? (isSameLayout ? 2 : 1) : 0
    let found = try thread.run { try control.maximum("residuals that were saved", known) }
    guard found > 0 || !residualsAreZero else { return }
    residuals = nil  // frees their memory before the new ones take theirs
    var restored = makeResiduals()
    restored.areZero = found == 0
    if found > 0 { try fill(restored, from: saved, isSameLayout: found == 2, over: control, root) }
    residuals = restored
  }

  private func fill(
    _ restored: Residuals, from saved: SavedResiduals?, isSameLayout: Bool, over control: any Communicator,
    _ root: Int
  ) throws {
    let isRoot = communicator.rank == root
    let flat = FloatBuffer(count: elementCount)
    defer { withExtendedLifetime(flat) {} }
    if isSameLayout {
      for rank in ranks {
        if let saved, isRoot { try flat.read(.sender(rank: rank), of: saved) }
        try transfer(
          flat, from: root, into: restored.sender.committed, on: rank, count: elementCount, over: control)
      }
      if let saved, isRoot { try flat.read(.owner, of: saved) }
    } else if let saved, isRoot {
      try flat.readMean(of: saved)
    }
    try thread.run { try control.broadcast("owners' residuals", over: flat.mutableBytes, from: root) }
    let owner = restored.owner.committed.start
    forEachPart(of: communicator.rank) { part, position in
      (owner + position).update(from: flat.start + part.lowerBound, count: part.count)
    }
  }
}

extension GradientExchange {
  func makeResiduals() -> Residuals {
    Residuals(elementCount: elementCount, ownCount: plan.ownCount)
  }

  private var ranks: Range<Int> { 0..<communicator.rankCount }

  private func ownCount(of rank: Int) -> Int {
    plan.buckets.reduce(0) { $0 + part($1, of: rank).count }
  }

  /// Calls `body` with each part that `owner` owns and where it begins among them.
  private func forEachPart(of owner: Int, _ body: (Range<Int>, Int) -> Void) {
    var position = 0
    for bucket in plan.buckets {
      let part = part(bucket, of: owner)
      body(part, position)
      position += part.count
    }
  }
}

extension GradientExchange {
  /// Copies `count` elements of `source` on one rank into `target` on another, or on the same.
  private func transfer(
    _ source: FloatBuffer, from sender: Int, into target: FloatBuffer, on receiver: Int, count: Int,
    over control: any Communicator
  ) throws {
    let rank = communicator.rank
    guard sender != receiver else {
      if rank == sender { target.start.update(from: source.start, count: count) }
      return
    }
    guard rank == sender || rank == receiver else { return }
    let floats = rank == sender ? source : target
    try thread.run {
      defer { withExtendedLifetime(floats) {} }
      try control.move(
        "residuals from rank \(sender) to rank \(receiver)",
        UnsafeMutableRawBufferPointer(rebasing: floats.mutableBytes[..<(4 * count)]), from: sender,
        to: receiver)
    }
  }
}

extension FloatBuffer {
  /// Fills the buffer with one saved array.
  fileprivate func read(_ part: ResidualPart, of saved: SavedResiduals) throws {
    let values = try saved.read(part)
    guard values.count == count else {
      throw MilmError("saved residuals of \(part): expected \(count) values, found \(values.count)")
    }
    values.withUnsafeBytes { mutableBytes.copyMemory(from: $0) }
  }

  /// Fills the buffer, which is zero, with all that the mean gradient is owed.
  fileprivate func readMean(of saved: SavedResiduals) throws {
    let term = FloatBuffer(count: count)
    defer { withExtendedLifetime(term) {} }
    for rank in 0..<saved.rankCount {
      try term.read(.sender(rank: rank), of: saved)
      CKernels_codecAdd(start, term.start, count)
    }
    CKernels_codecDivide(start, Float(saved.rankCount), count)
    try term.read(.owner, of: saved)
    CKernels_codecAdd(start, term.start, count)
  }
}
