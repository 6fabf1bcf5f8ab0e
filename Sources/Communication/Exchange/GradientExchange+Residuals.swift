import CKernels
import Platform
import Tensors

/// Rounding errors that later steps correct (error feedback), in two versions: of the last committed step, and of the step
/// under way.
///
/// The sender's is in units of this rank's gradient, the owner's in units of the mean gradient.
struct Residuals {
  /// One element for each of the flat gradient; zero in the chunks this rank owns.
  private(set) var sender: (committed: FloatBuffer, next: FloatBuffer)
  /// One element for each that this rank owns, in the order of buckets.
  private(set) var owner: (committed: FloatBuffer, next: FloatBuffer)
  /// Whether all ranks' committed residuals are zero.
  var areZero = true
  private let arena: Arena

  init(elementCount: Int, ownCount: Int, in arena: Arena) {
    self.arena = arena
    func buffers(_ count: Int) -> (FloatBuffer, FloatBuffer) {
      (FloatBuffer(count: count, in: arena), FloatBuffer(count: count, in: arena))
    }
    sender = buffers(elementCount)
    owner = buffers(ownCount)
  }

  var byteCount: Int { arena.byteCount }

  /// Commits the step under way.
  mutating func commit(areZero: Bool) {
    swap(&sender.committed, &sender.next)
    swap(&owner.committed, &owner.next)
    self.areZero = areZero
  }
}

/// One array of residuals in a checkpoint, as long as the flat gradient.
package enum ResidualPart: Hashable, Sendable {
  /// Rounding errors of a rank's own encodings, in units of that rank's gradient.
  case sender(rank: Int)
  /// Rounding errors of the owners' encodings of the mean, in units of the mean gradient.
  case owner
}

/// Residuals as they were saved, read one array at a time.
package struct SavedResiduals {
  /// The node of each rank of the run that saved them.
  package let nodeOfRank: [Int]
  /// Reads one array, as long as the flat gradient.
  package let read: (ResidualPart) throws -> [Float]
  /// The number of ranks of the run that saved them.
  package var rankCount: Int { nodeOfRank.count }

  /// Residuals of ranks on these nodes (default: one rank per node).
  package init(rankCount: Int, nodeOfRank: [Int]? = nil, read: @escaping (ResidualPart) throws -> [Float]) {
    self.nodeOfRank = nodeOfRank ?? Array(0..<rankCount)
    self.read = read
  }
}

/// Residuals to and from checkpoints; called between steps, by all ranks together.
extension GradientExchange {
  /// Whether there is nothing to save; the same on all ranks.
  package var residualsAreZero: Bool { residuals?.areZero ?? true }

  /// Passes all ranks' residuals to `save` on rank `root`: each sender's, by rank, then the owners', combined.
  ///
  /// Only one array is in memory at a time. Residuals that are zero on all ranks are not passed.
  package func gatherResiduals(
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
      forEachChunk(of: owner) { chunk, position in
        (flat.start + chunk.lowerBound).update(from: compact.start + position, count: chunk.count)
      }
    }
    if isRoot { try save(.owner, flat.values) }
  }

  /// Restores saved residuals: all ranks call it, rank `root` with `saved`, or nil if they were zero.
  ///
  /// Where ranks or nodes differ from those of the run that saved them, the senders' residuals ÷ the number of ranks of that
  /// run, plus the owners', become the owners': the pending correction of the mean gradient is kept.
  package func restoreResiduals(_ saved: SavedResiduals?, over control: any Communicator, from root: Int)
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
    forEachChunk(of: communicator.rank) { chunk, position in
      (owner + position).update(from: flat.start + chunk.lowerBound, count: chunk.count)
    }
  }
}

extension GradientExchange {
  /// In an arena of their own: they are made again where a checkpoint is restored.
  func makeResiduals() -> Residuals {
    Residuals(
      elementCount: elementCount, ownCount: plan.ownCount, in: Arena(counting: arena.isCounting))
  }

  private var ranks: Range<Int> { 0..<communicator.rankCount }

  private func ownCount(of rank: Int) -> Int {
    plan.buckets.reduce(0) { $0 + chunk($1, of: rank).count }
  }

  /// Calls `body` with each chunk that `owner` owns and where it begins among them.
  private func forEachChunk(of owner: Int, _ body: (Range<Int>, Int) -> Void) {
    var position = 0
    for bucket in plan.buckets {
      let chunk = chunk(bucket, of: owner)
      body(chunk, position)
      position += chunk.count
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

  /// Fills the buffer, which is zero, with the pending correction of the mean gradient.
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
