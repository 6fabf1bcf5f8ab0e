/// Tokens in the order of a text, at random access.
public protocol TokenSequence: Sendable {
  /// How many tokens there are.
  var count: Int { get }

  /// The id of the token at a position from 0.
  subscript(position: Int) -> Int32 { get }

  /// Copies the ids of a range to the start of `destination`, which must have room for them.
  func copy(_ range: Range<Int>, into destination: UnsafeMutableBufferPointer<Int32>)
}

/// Tokens held in memory.
public struct TokenArray: TokenSequence, Equatable {
  /// The ids.
  public let ids: [Int32]

  /// A sequence of these ids.
  public init(_ ids: [Int32]) {
    self.ids = ids
  }

  /// How many tokens there are.
  public var count: Int { ids.count }

  /// The id of the token at a position from 0.
  public subscript(position: Int) -> Int32 { ids[position] }

  /// Copies the ids of a range to the start of `destination`, which must have room for them.
  public func copy(_ range: Range<Int>, into destination: UnsafeMutableBufferPointer<Int32>) {
    precondition(range.count <= destination.count, "no room for \(range.count) tokens")
    _ = destination.update(fromContentsOf: ids[range])
  }
}
