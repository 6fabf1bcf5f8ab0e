import Tensors

/// The elements of the flat buffers that a rank keeps up to date: all of them, or, where the words are dealt out to
/// the ranks, those of its own words and all that belong to no word.
public struct ParameterShard: Sendable {
  /// The words of this rank; nil where it has none of them.
  public let words: RowShard?
  /// What all ranks have alike.
  public let common: Range<Int>
  /// What this rank alone has: elements of its words, rising.
  public let owned: [Range<Int>]

  /// All of a list, alike on all ranks.
  public init(all list: ParameterList) {
    words = nil
    common = 0..<list.elementCount
    owned = []
  }

  /// The tensors of a list, of which those that have elements for each word come first, with the words of a shard.
  public init(_ list: ParameterList, words: RowShard?) {
    self.words = words
    let first = list.parameters.first { $0.elementsPerWord == nil }?.offset ?? list.elementCount
    common = first..<list.elementCount
    owned = list.parameters.flatMap { $0.ranges(of: words) }
    precondition(owned.allSatisfy { $0.upperBound <= first }, "tensors of words come first")
  }

  /// How many elements this rank alone has.
  public var ownedCount: Int { owned.reduce(0) { $0 + $1.count } }

  /// Whether a tensor is the same on all ranks.
  public func isCommon(_ parameter: Parameter) -> Bool { common.contains(parameter.offset) }

  /// The elements of a tensor that this rank keeps up to date.
  func ranges(of parameter: Parameter) -> [Range<Int>] {
    isCommon(parameter) ? [parameter.range] : parameter.ranges(of: words)
  }
}

extension Parameter {
  /// The elements of a shard's words; none where elements do not belong to words.
  fileprivate func ranges(of words: RowShard?) -> [Range<Int>] {
    guard let words, let width = elementsPerWord else { return [] }
    return words.blocks.map { offset + $0.lowerBound * width..<offset + $0.upperBound * width }
  }
}

extension ParameterBuffer {
  /// Sets to zero what a shard holds.
  public func clear(_ shard: ParameterShard, engine: ComputeEngine) {
    forEachPart(of: shard, engine) { flat.columns($0).fill(0) }
  }

  /// Takes over what a shard holds of a buffer of the same layout.
  public func copy(_ shard: ParameterShard, from source: ParameterBuffer, engine: ComputeEngine) {
    forEachPart(of: shard, engine) { copy($0, from: source) }
  }

  private func forEachPart(
    of shard: ParameterShard, _ engine: ComputeEngine, _ body: @Sendable (Range<Int>) -> Void
  ) {
    for range in [shard.common] + shard.owned {
      engine.forEachPart(of: range.count, minimumPartCount: 1 << 20) { part in
        body(range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound)
      }
    }
  }

  /// Lays what only this shard holds side by side.
  public func packShard(_ shard: ParameterShard, to target: UnsafeMutablePointer<Float>) {
    var place = target
    for range in shard.owned {
      place.update(from: flat.data + range.lowerBound, count: range.count)
      place += range.count
    }
  }

  /// Takes over what another rank's shard holds, as `packShard` has laid it out.
  public func unpackShard(_ shard: ParameterShard, from source: UnsafePointer<Float>) {
    var place = source
    for range in shard.owned {
      (flat.data + range.lowerBound).update(from: place, count: range.count)
      place += range.count
    }
  }
}
