import Communication
import Platform
import Tensors

/// Messages between rank 0 and the ranks that score for it: in each round rank 0 sends every other rank a request, and
/// receives the losses of the previous one.
///
/// So the others compute while rank 0 prepares the next request, and a round is one exchange.
final class ScoringChannel {
  /// Work for one rank.
  struct Request {
    /// Whether the state is zero before it.
    let resetsState: Bool
    /// Tokens, or rows of z; empty where there is nothing to do.
    let content: Vector<Int32>
  }

  /// On rank 0, the content of each other rank's next request.
  let contents: [Vector<Int32>]
  /// Losses: on rank 0 each other rank's, elsewhere its own.
  let losses: [Vector<Double>]
  private let messages: [Vector<Int32>]
  private let communicator: any Communicator
  private let arena: Arena

  /// Memory for messages; the counts are the most that one rank gets.
  init(_ communicator: any Communicator, contentCount: Int, lossCount: Int) {
    self.communicator = communicator
    let arena = Arena()
    self.arena = arena
    let isPeer = (0..<communicator.rankCount).map { rank in
      (rank == Ranks.coordinator) != (communicator.rank == Ranks.coordinator)
    }
    let messages = isPeer.map { arena.vector(of: Int32.self, count: $0 ? 1 + contentCount : 0) }
    self.messages = messages
    contents = messages.map { $0[min(1, $0.count)..<$0.count] }
    losses = isPeer.map { arena.vector(of: Double.self, count: $0 ? lossCount : 0) }
  }

  /// On rank 0: sends each other rank the first `contentCounts` of its content, and receives the losses of the previous
  /// round; throws unless they are as many as `lossCounts`.
  func send(_ contentCounts: [Int], resetsState: Bool, lossCounts: [Int]) throws {
    for message in messages where message.count > 0 { message[0] = resetsState ? 1 : 0 }
    try exchange(
      zip(messages, contentCounts).map { message, count in message[0..<min(message.count, 1 + count)] },
      lossCounts: lossCounts)
  }

  /// On rank 0: receives the last losses; the others stop serving.
  func close(lossCounts: [Int]) throws {
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

  /// On the other ranks: serves requests until rank 0 closes the channel.
  ///
  /// `body` writes losses to the memory that it is given, and returns how many.
  func serve(_ body: (Request, Vector<Double>) -> Int) throws {
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
      let request = Request(resetsState: message[0] == 1, content: message[1..<count])
      lossCount = body(request, losses[coordinator])
    }
  }
}

/// The part of `count` things that belongs to the `index`th of `partCount`.
func partition(_ index: Int, of count: Int, into partCount: Int) -> Range<Int> {
  count * index / partCount..<count * (index + 1) / partCount
}
