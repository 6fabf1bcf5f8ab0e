import Communication
import Platform
import Tensors

/// What rank 0 and the ranks that score for it say to each other: in every round each gets work, and gives back the
/// losses of the round before.
///
/// So the others compute while rank 0 prepares the next round, and a round is one exchange.
final class ScoringRounds {
  /// What one rank is asked to do.
  struct Work {
    /// Whether the state is zero before it.
    let startsAnew: Bool
    /// Words, or rows of z; none where there is nothing to do.
    let content: Vector<Int32>
  }

  /// On rank 0, the content of each other rank's next work.
  let contents: [Vector<Int32>]
  /// Losses: on rank 0 each other rank's, elsewhere its own for rank 0.
  let losses: [Vector<Double>]
  private let messages: [Vector<Int32>]
  private let communicator: any Communicator
  private let arena: Arena

  /// Memory for rounds; the counts are the most that one rank gets.
  init(_ communicator: any Communicator, contentCount: Int, lossCount: Int) {
    self.communicator = communicator
    let arena = Arena()
    self.arena = arena
    // Rank 0 talks to all the others, and they to it alone.
    let isPeer = (0..<communicator.rankCount).map { rank in
      (rank == Ranks.coordinator) != (communicator.rank == Ranks.coordinator)
    }
    let messages = isPeer.map { arena.vector(of: Int32.self, count: $0 ? 1 + contentCount : 0) }
    self.messages = messages
    contents = messages.map { $0[min(1, $0.count)..<$0.count] }
    losses = isPeer.map { arena.vector(of: Double.self, count: $0 ? lossCount : 0) }
  }

  /// On rank 0: gives each other rank the first `contentCounts` of its content, and takes the losses of the round
  /// before, which must be as many as `lossCounts` says.
  func giveOut(_ contentCounts: [Int], startsAnew: Bool, lossCounts: [Int]) throws {
    for message in messages where message.count > 0 { message[0] = startsAnew ? 1 : 0 }
    try exchange(
      zip(messages, contentCounts).map { message, count in message[0..<min(message.count, 1 + count)] },
      lossCounts: lossCounts)
  }

  /// On rank 0: takes the last losses; the others end.
  func end(lossCounts: [Int]) throws {
    try exchange(messages.map { $0[0..<0] }, lossCounts: lossCounts)
  }

  private func exchange(_ outgoing: [Vector<Int32>], lossCounts: [Int]) throws {
    let received = try communicator.exchange(
      .control("score"), outgoing: outgoing.map { UnsafeRawBufferPointer($0.buffer) },
      incoming: losses.map { UnsafeMutableRawBufferPointer($0.buffer) }, limits: nil)
    for rank in 0..<communicator.rankCount where rank != Ranks.coordinator {
      let count = received[rank] / MemoryLayout<Double>.stride
      guard count == lossCounts[rank] else {
        throw MilmError(
          "expected \(lossCounts[rank]) losses from \(communicator.label(of: rank)), found \(count)")
      }
    }
  }

  /// On the other ranks: does work after work until rank 0 has no more.
  ///
  /// `body` leaves losses in the memory that it is given, and says how many.
  func serve(_ body: (Work, Vector<Double>) -> Int) throws {
    var lossCount = 0
    let coordinator = Ranks.coordinator
    while true {
      let received = try communicator.exchange(
        .control("score"),
        outgoing: losses.enumerated().map {
          UnsafeRawBufferPointer($1[0..<($0 == coordinator ? lossCount : 0)].buffer)
        },
        incoming: messages.map { UnsafeMutableRawBufferPointer($0.buffer) }, limits: nil)
      let count = received[coordinator] / MemoryLayout<Int32>.stride
      guard count > 0 else { return }
      let message = messages[coordinator]
      let work = Work(startsAnew: message[0] == 1, content: message[1..<count])
      lossCount = body(work, losses[coordinator])
    }
  }
}

/// Whose part of a count is which, in the order of ranks.
func share(_ index: Int, of count: Int, among shareCount: Int) -> Range<Int> {
  count * index / shareCount..<count * (index + 1) / shareCount
}
