import Platform

extension GradientExchange {
  /// Sums a gradient over all ranks by `MPI_Allreduce` on fp32 alone, to compare with; gives the seconds.
  ///
  /// All ranks call it between steps, with `elementCount` floats that need not be this exchange's. Nil where ranks are not
  /// processes of an MPI job.
  public func timePlainAllReduce(
    _ gradient: UnsafeMutablePointer<Float>, elementCount: Int
  ) throws -> Double? {
    guard let communicator = communicator as? MPICommunicator else { return nil }
    nonisolated(unsafe) let gradient = gradient
    return try thread.run {
      try communicator.barrier("before MPI_Allreduce")
      let start = ContinuousClock.now
      try communicator.allReduce(UnsafeMutableBufferPointer(start: gradient, count: elementCount))
      return (ContinuousClock.now - start).inSeconds
    }
  }
}

extension MPICommunicator {
  /// Adds all ranks' values up, in messages of at most 64 MiB.
  fileprivate func allReduce(_ values: UnsafeMutableBufferPointer<Float>) throws {
    let pieceCount = PeerTransfers.pieceByteCount / 4
    for start in stride(from: 0, to: values.count, by: pieceCount) {
      let piece = UnsafeMutableBufferPointer(rebasing: values[start..<min(start + pieceCount, values.count)])
      try addUp(piece)
    }
  }
}
