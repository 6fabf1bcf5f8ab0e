/// Messages and bytes that one rank sends, and the number of round trips it waits for.
package struct ExchangeTraffic: Sendable, Equatable {
  /// Calls in which every rank sends to its peers and receives from them at once.
  package var roundCount = 0
  /// Messages to other ranks.
  package var messageCount = 0
  /// Bytes in them.
  package var byteCount = 0.0
  /// Bytes of their values as 32-bit floats.
  package var floatByteCount = 0.0

  /// Traffic of these counts.
  package init(
    roundCount: Int = 0, messageCount: Int = 0, byteCount: Double = 0, floatByteCount: Double = 0
  ) {
    self.roundCount = roundCount
    self.messageCount = messageCount
    self.byteCount = byteCount
    self.floatByteCount = floatByteCount
  }

  /// Bytes of the values as floats ÷ bytes sent; 1 where nothing is sent.
  package var ratio: Double { byteCount > 0 ? floatByteCount / byteCount : 1 }

  /// Seconds on a link that carries nothing else.
  package func seconds(over link: LinkMeasurement) -> Double {
    Double(roundCount) * link.latencySeconds + Double(messageCount) * link.secondsPerMessage
      + byteCount / link.bytesPerSecond
  }

  /// The traffic of both.
  package static func + (one: Self, other: Self) -> Self {
    ExchangeTraffic(
      roundCount: one.roundCount + other.roundCount, messageCount: one.messageCount + other.messageCount,
      byteCount: one.byteCount + other.byteCount,
      floatByteCount: one.floatByteCount + other.floatByteCount)
  }

  /// Adds other traffic.
  package static func += (one: inout Self, other: Self) { one = one + other }

  /// The same traffic several times.
  package static func * (one: Self, times: Int) -> Self {
    ExchangeTraffic(
      roundCount: one.roundCount * times, messageCount: one.messageCount * times,
      byteCount: one.byteCount * Double(times), floatByteCount: one.floatByteCount * Double(times))
  }
}

/// Traffic of one rank in each operation of a `ShardExchange`, computed without running it.
package struct ShardTraffic: Sendable {
  /// How many ranks own shards.
  package let ownerCount: Int
  /// The length of a row.
  package let width: Int

  /// The traffic of a rank that is one of `ownerCount`.
  package init(ownerCount: Int, width: Int) {
    self.ownerCount = ownerCount
    self.width = width
  }

  private var otherCount: Int { ownerCount - 1 }

  /// `fetchRows`: `rowCount` rows of this shard are looked up by all other owners together.
  package func fetchRows(_ rowCount: Double) -> ExchangeTraffic {
    round(elementCount: rowCount * Double(width))
  }

  /// `allGather` of a chunk of `elementCount` floats.
  package func allGather(chunk elementCount: Double) -> ExchangeTraffic {
    round(elementCount: elementCount * Double(otherCount))
  }

  /// `allToAll` and `reduceScatter` of `elementCount` floats in all other owners' chunks together.
  package func allToAll(otherChunks elementCount: Double) -> ExchangeTraffic {
    round(elementCount: elementCount)
  }

  /// `reduceRows` of gradients of `rowCount` rows of all other owners together: a number and a row each.
  package func reduceRows(_ rowCount: Double) -> ExchangeTraffic {
    round(elementCount: rowCount * Double(width + 1))
  }

  /// A message to each other owner, `elementCount` floats in all.
  private func round(elementCount: Double) -> ExchangeTraffic {
    guard otherCount > 0 else { return ExchangeTraffic() }
    let overhead = otherCount * FrameCoder.overheadByteCount(codec: .uncompressed)
    return ExchangeTraffic(
      roundCount: 1, messageCount: otherCount, byteCount: 4 * elementCount + Double(overhead),
      floatByteCount: 4 * elementCount)
  }
}
