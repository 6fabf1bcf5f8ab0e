import Platform

extension Communicator {
  /// Checks that all ranks hold the same parameters at the end of `step`.
  ///
  /// `hashes` has one entry a tensor, in the same order on all ranks. An error names the tensors that differ
  /// and the ranks that differ from most others; all ranks throw the same one.
  public func verifyReplicas(hashes: [(name: String, hash: UInt64)], step: Int) throws {
    let all = try allGatherWords("compare parameters at step \(step)", hashes.map(\.hash))
    let differences = hashes.indices.compactMap { tensor -> String? in
      let column = all.map { $0[tensor] }
      let expected = mostCommon(column)
      let odd = column.indices.filter { column[$0] != expected }
      guard !odd.isEmpty else { return nil }
      let ranks = odd.map { "\(label(of: $0)) has \(hexadecimal(column[$0]))" }.joined(separator: ", ")
      return "\(hashes[tensor].name): expected hash \(hexadecimal(expected)), \(ranks)"
    }
    guard differences.isEmpty else {
      throw MilmError(
        "parameters differ between ranks at step \(step): \(differences.joined(separator: "; "))")
    }
  }
}

/// The value that most ranks have; of equally common ones that of the lowest rank.
private func mostCommon(_ values: [UInt64]) -> UInt64 {
  var counts: [UInt64: Int] = [:]
  for value in values { counts[value, default: 0] += 1 }
  let highest = counts.values.max()
  return values.first { counts[$0] == highest } ?? 0
}

private func hexadecimal(_ value: UInt64) -> String {
  "0x" + String(value, radix: 16)
}
