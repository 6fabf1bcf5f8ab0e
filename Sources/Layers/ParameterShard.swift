import CKernels
import Tensors

/// The elements of the flat buffers that a rank keeps up to date: all of them, or, where the vocabulary is sharded,
/// those of its rows and all elements of tensors without rows for tokens.
package struct ParameterShard: Sendable, Equatable {
  /// The rows of this rank; nil where it has none of them, or all.
  package let rows: RowShard?
  /// Elements that are the same on all ranks.
  package let common: Range<Int>
  /// Elements of this rank's rows, ascending.
  package let owned: [Range<Int>]

  /// All of a list, the same on all ranks.
  package init(all list: ParameterList) {
    rows = nil
    common = 0..<list.elementCount
    owned = []
  }

  /// The elements of a list for the rows of a shard; tensors with elements for each token come first in the list.
  package init(_ list: ParameterList, rows: RowShard?) {
    self.rows = rows
    let first = list.parameters.first { $0.elementsPerToken == nil }?.offset ?? list.elementCount
    common = first..<list.elementCount
    owned = list.parameters.flatMap { $0.ranges(of: rows) }
    precondition(owned.allSatisfy { $0.upperBound <= first }, "tensors with rows for tokens come first")
  }

  /// The number of elements of this rank's rows.
  package var ownedCount: Int { owned.reduce(0) { $0 + $1.count } }

  /// The number of those in a tensor.
  package func ownedCount(of parameter: Parameter) -> Int {
    isCommon(parameter) ? 0 : parameter.ranges(of: rows).reduce(0) { $0 + $1.count }
  }

  /// Whether a tensor is the same on all ranks.
  package func isCommon(_ parameter: Parameter) -> Bool { common.contains(parameter.offset) }

  /// The elements of a tensor that this rank keeps up to date.
  func ranges(of parameter: Parameter) -> [Range<Int>] {
    isCommon(parameter) ? [parameter.range] : parameter.ranges(of: rows)
  }
}

extension Parameter {
  /// The elements of a shard's rows; none where elements do not belong to tokens.
  fileprivate func ranges(of rows: RowShard?) -> [Range<Int>] {
    guard let rows, let width = elementsPerToken else { return [] }
    return rows.blocks.map { offset + $0.lowerBound * width..<offset + $0.upperBound * width }
  }
}

extension ParameterBuffer {
  /// Sets the elements of a shard to zero.
  package func clear(_ shard: ParameterShard, engine: ComputeEngine) {
    forEachPart(of: shard, engine) { flat.columns($0).fill(0) }
  }

  /// Copies the elements of a shard from a buffer of the same layout.
  package func copy(_ shard: ParameterShard, from source: ParameterBuffer, engine: ComputeEngine) {
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

  /// XXH64 of the elements of a tensor in a shard: equal where they are equal bit for bit.
  package func hash(of parameter: Parameter, _ shard: ParameterShard) -> UInt64 {
    shard.ranges(of: parameter).reduce(0) { hash, range in
      CKernels_xxh64(flat.data + range.lowerBound, range.count * MemoryLayout<Float>.stride, hash)
    }
  }

  /// Copies the rows of a shard to `target`, packed.
  package func packShard(_ shard: ParameterShard, to target: UnsafeMutablePointer<Float>) {
    var place = target
    for range in shard.owned {
      place.update(from: flat.data + range.lowerBound, count: range.count)
      place += range.count
    }
  }

  /// Copies the rows of a shard from `source`, in the layout of `packShard`.
  package func unpackShard(_ shard: ParameterShard, from source: UnsafePointer<Float>) {
    var place = source
    for range in shard.owned {
      (flat.data + range.lowerBound).update(from: place, count: range.count)
      place += range.count
    }
  }
}
