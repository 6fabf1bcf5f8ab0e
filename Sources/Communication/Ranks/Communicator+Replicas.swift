import Platform

extension Communicator {
  /// Checks that ranks hold the same parameters at the end of `step`.
  ///
  /// `hashes` has one entry per tensor, in the same order on all ranks. `replicas` are the sets of ranks that hold the same,
  /// with what each set holds, as in "shard 1 of 2"; all ranks unless said otherwise. An error names the tensors that differ and the
  /// ranks that differ from most others of their set; all ranks throw the same one.
  public func verifyReplicas(
    hashes: [(name: String, hash: UInt64)], of replicas: [(name: String, ranks: [Int])]? = nil, step: Int
  ) throws {
    let all = try allGatherWords("compare parameters at step \(step)", hashes.map(\.hash))
    let replicas = replicas ?? [(name: "", ranks: Array(0..<rankCount))]
    let differences = replicas.flatMap { replica in
      hashes.indices.compactMap { tensor -> String? in
        let expected = mostCommon(replica.ranks.map { all[$0][tensor] })
        let odd = replica.ranks.filter { all[$0][tensor] != expected }
        guard !odd.isEmpty else { return nil }
        let ranks = odd.map { "\(label(of: $0)) has \(hexadecimal(all[$0][tensor]))" }.joined(separator: ", ")
        let place = replica.name.isEmpty ? "" : ", \(replica.name)"
        return "\(hashes[tensor].name)\(place): expected hash \(hexadecimal(expected)), \(ranks)"
      }
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
