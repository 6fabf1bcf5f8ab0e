/// How this rank's clock differs from rank 0's.
public struct ClockOffset: Sendable, Equatable {
  /// What is added to a time of this rank to have it on rank 0's clock, in nanoseconds.
  public let nanoseconds: Int
  /// By how much that may be wrong, in nanoseconds.
  public let errorNanoseconds: Int

  /// A clock that differs by so much, known so well.
  public init(nanoseconds: Int, errorNanoseconds: Int) {
    self.nanoseconds = nanoseconds
    self.errorNanoseconds = errorNanoseconds
  }

  /// How often a rank is asked: the quickest answer counts, for it was held up least.
  private static let roundCount = 20

  /// Asks every rank that has another clock than rank 0 what it shows; all ranks call it between steps.
  ///
  /// `now` reads this rank's clock in nanoseconds. Ranks that share memory share a clock.
  public static func measure(over communicator: any Communicator, now: () -> Int) throws -> ClockOffset {
    var own = ClockOffset(nanoseconds: 0, errorNanoseconds: 0)
    try communicator.barrier("compare clocks")
    let nodes = communicator.layout.nodeOfRank
    for other in 0..<communicator.rankCount where nodes[other] != nodes[0] {
      if communicator.rank == 0 {
        let measured = try ask(other, over: communicator, now: now)
        _ = try send([measured.nanoseconds, measured.errorNanoseconds], to: other, over: communicator)
      } else if communicator.rank == other {
        for _ in 0..<roundCount {
          _ = try send([0, 0], to: 0, over: communicator)
          _ = try send([now(), 0], to: 0, over: communicator)
        }
        let answer = try send([0, 0], to: 0, over: communicator)
        own = ClockOffset(nanoseconds: answer[0], errorNanoseconds: answer[1])
      }
    }
    try communicator.barrier("clocks compared")
    return own
  }

  /// The other rank looks at its clock after it has heard from this one, and this one hears of it after that: between
  /// the two times here lies the other's, and most likely in the middle.
  private static func ask(_ other: Int, over communicator: any Communicator, now: () -> Int) throws
    -> ClockOffset
  {
    let answers = try (0..<roundCount).map { _ in
      let asked = now()
      _ = try send([0, 0], to: other, over: communicator)
      let shown = try send([0, 0], to: other, over: communicator)[0]
      let answered = now()
      return ClockOffset(
        nanoseconds: asked + (answered - asked) / 2 - shown, errorNanoseconds: (answered - asked + 1) / 2)
    }
    return answers.min { $0.errorNanoseconds < $1.errorNanoseconds } ?? answers[0]
  }

  /// Sends two numbers to a rank and gives those that it sends.
  private static func send(_ values: [Int], to other: Int, over communicator: any Communicator) throws
    -> [Int]
  {
    let byteCount = 8 * values.count
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * byteCount, alignment: 8)
    defer { memory.deallocate() }
    let outgoing = UnsafeMutableRawBufferPointer(rebasing: memory[..<byteCount])
    let incoming = UnsafeMutableRawBufferPointer(rebasing: memory[byteCount...])
    incoming.initializeMemory(as: UInt8.self, repeating: 0)
    for (index, value) in values.enumerated() {
      outgoing.storeBytes(of: Int64(value).littleEndian, toByteOffset: 8 * index, as: Int64.self)
    }
    let peers = [communicator.rank, other].sorted()
    _ = try communicator.exchange(
      .control("compare clocks"), with: peers,
      outgoing: Array(repeating: UnsafeRawBufferPointer(outgoing), count: 2),
      incoming: Array(repeating: incoming, count: 2), limits: nil)
    return values.indices.map {
      Int(Int64(littleEndian: incoming.load(fromByteOffset: 8 * $0, as: Int64.self)))
    }
  }
}
