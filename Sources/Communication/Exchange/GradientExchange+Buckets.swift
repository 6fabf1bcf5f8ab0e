import CKernels

/// How one bucket becomes the mean; runs on the communication thread.
extension GradientExchange {
  func reduce(_ bucket: Bucket, report: inout ExchangeReport) throws {
    guard communicator.rankCount > 1 else { return addOwnerResidual(bucket) }
    let toOwners = try report.timing(\.encodeSeconds) { report in try encodeParts(bucket, report: &report) }
    let parts = try exchange(bucket, .reduce, outgoing: toOwners, report: &report)
    try report.timing(\.decodeSeconds) { _ in try sumOwnPart(bucket, parts) }
    let mean = try report.timing(\.encodeSeconds) { _ in try encodeMean(bucket) }
    report.count(
      elementCount: bucket.part(of: communicator.rank).count, byteCount: mean.count,
      times: communicator.rankCount - 1)
    let outgoing = Array(repeating: mean, count: communicator.rankCount)
    let means = try exchange(bucket, .distribute, outgoing: outgoing, report: &report)
    try report.timing(\.decodeSeconds) { _ in try takeMeans(bucket, means, own: mean) }
  }

  /// With one rank the gradient is the mean already; only what came from a run with more is still owed.
  private func addOwnerResidual(_ bucket: Bucket) {
    guard let residuals, !residuals.areZero else { return }
    let own = residuals.owner
    CKernels_codecAdd(gradient(bucket.range), own.committed.start + bucket.ownOffset, bucket.range.count)
    (own.next.start + bucket.ownOffset).update(repeating: 0, count: bucket.range.count)
  }

  /// Encodes, for each other rank, the part it owns.
  private func encodeParts(_ bucket: Bucket, report: inout ExchangeReport) throws -> [UnsafeRawBufferPointer]
  {
    try ranks.map { owner in
      guard owner != communicator.rank else { return UnsafeRawBufferPointer(start: nil, count: 0) }
      let part = bucket.part(of: owner)
      let frame = try encode(
        gradient(part), frame(bucket, .reduce, part.count), residuals?.sender, at: part.lowerBound,
        into: workspace.outgoingSlot(owner))
      report.count(elementCount: part.count, byteCount: frame.count, times: 1)
      return frame
    }
  }

  /// Adds all ranks' values of the part this rank owns, in the order of ranks, and divides by their number.
  private func sumOwnPart(_ bucket: Bucket, _ frames: [UnsafeRawBufferPointer]) throws {
    let part = bucket.part(of: communicator.rank)
    let sum = workspace.sum.start
    for sender in ranks {
      let decoded = sender == 0 ? sum : workspace.decoded.start
      if sender == communicator.rank {
        decoded.update(from: gradient(part), count: part.count)
      } else {
        try decode(frames[sender], from: sender, bucket, .reduce, part.count, into: decoded)
      }
      if sender > 0 { CKernels_codecAdd(sum, decoded, part.count) }
    }
    CKernels_codecDivide(sum, Float(communicator.rankCount), part.count)
  }

  /// Encodes the mean of this rank's part, and leaves in `sum` what an exact frame holds.
  private func encodeMean(_ bucket: Bucket) throws -> UnsafeRawBufferPointer {
    let count = bucket.part(of: communicator.rank).count
    return try encode(
      workspace.sum.start, frame(bucket, .distribute, count), residuals?.owner, at: bucket.ownOffset,
      into: workspace.outgoingSlot(communicator.rank))
  }

  /// Writes what all owners' frames decode to into the gradient.
  private func takeMeans(
    _ bucket: Bucket, _ frames: [UnsafeRawBufferPointer], own: UnsafeRawBufferPointer
  ) throws {
    for owner in ranks {
      let part = bucket.part(of: owner)
      let frame = owner == communicator.rank ? own : frames[owner]
      try decode(frame, from: owner, bucket, .distribute, part.count, into: gradient(part))
    }
  }
}

extension GradientExchange {
  var ranks: Range<Int> { 0..<communicator.rankCount }

  /// The gradient of the step under way, from the start of `range`.
  func gradient(_ range: Range<Int>) -> UnsafeMutablePointer<Float> {
    guard let gradient = step.gradient else { preconditionFailure("no step has begun") }
    return gradient + range.lowerBound
  }

  private func operation(_ bucket: Bucket, _ phase: CollectiveOperation.Phase) -> CollectiveOperation {
    CollectiveOperation(name: bucket.name, phase: phase, step: step.number, index: bucket.index)
  }

  private func frame(
    _ bucket: Bucket, _ phase: CollectiveOperation.Phase, _ elementCount: Int
  ) -> FrameDescription {
    FrameDescription(
      codec: step.codec, operation: operation(bucket, phase), sender: communicator.rank,
      elementCount: elementCount, blockLength: bucket.blockLength, compressionLevel: bucket.compressionLevel)
  }

  /// Encodes `values` plus the residual that begins at `offset`;
  /// what is lost goes into the residual of the next step.
  private func encode(
    _ values: UnsafePointer<Float>, _ frame: FrameDescription,
    _ residual: (committed: FloatBuffer, next: FloatBuffer)?, at offset: Int,
    into slot: UnsafeMutableRawBufferPointer
  ) throws -> UnsafeRawBufferPointer {
    let coder = workspace.coder
    guard let residual else {
      let byteCount = try coder.encode(values, as: frame, into: slot)
      return UnsafeRawBufferPointer(rebasing: slot[..<byteCount])
    }
    let feedback = ErrorFeedback(
      residual: residual.committed.start + offset, remainder: residual.next.start + offset)
    guard frame.codec.isExact else {
      let byteCount = try coder.encode(values, as: frame, feedback: feedback, into: slot)
      return UnsafeRawBufferPointer(rebasing: slot[..<byteCount])
    }
    // An exact frame loses nothing: the sum is made where the next residual will stand, which is then zero.
    feedback.remainder.update(from: values, count: frame.elementCount)
    CKernels_codecAdd(feedback.remainder, feedback.residual, frame.elementCount)
    let byteCount = try coder.encode(feedback.remainder, as: frame, into: slot)
    feedback.remainder.update(repeating: 0, count: frame.elementCount)
    return UnsafeRawBufferPointer(rebasing: slot[..<byteCount])
  }

  private func decode(
    _ frame: UnsafeRawBufferPointer, from sender: Int, _ bucket: Bucket, _ phase: CollectiveOperation.Phase,
    _ elementCount: Int, into values: UnsafeMutablePointer<Float>
  ) throws {
    let expected = FrameExpectation(
      codec: step.codec, operation: operation(bucket, phase), sender: sender,
      elementCounts: elementCount...elementCount, blockLength: bucket.blockLength)
    _ = try decode(frame, expecting: expected, into: values)
  }

  /// Decodes a frame; an error says whose it is.
  func decode(
    _ frame: UnsafeRawBufferPointer, expecting expected: FrameExpectation,
    into values: UnsafeMutablePointer<Float>
  ) throws -> Int {
    do {
      return try workspace.coder.decode(frame, expecting: expected, into: values)
    } catch {
      throw CommunicationError(
        "frame from \(communicator.label(of: expected.sender)) at \(expected.operation): \(error)")
    }
  }

  private func exchange(
    _ bucket: Bucket, _ phase: CollectiveOperation.Phase, outgoing: [UnsafeRawBufferPointer],
    report: inout ExchangeReport
  ) throws -> [UnsafeRawBufferPointer] {
    try report.timing(\.wireSeconds) { _ in
      let incoming = ranks.map(workspace.incomingSlot)
      let byteCounts = try communicator.exchange(
        operation(bucket, phase), outgoing: outgoing, incoming: incoming, limits: step.limits)
      return ranks.map { UnsafeRawBufferPointer(rebasing: incoming[$0][..<byteCounts[$0]]) }
    }
  }
}

extension ExchangeReport {
  /// Adds the time `work` takes to one of the report's seconds.
  mutating func timing<Value>(
    _ seconds: WritableKeyPath<ExchangeReport, Double>, _ work: (inout ExchangeReport) throws -> Value
  ) rethrows -> Value {
    let start = ContinuousClock.now
    let value = try work(&self)
    self[keyPath: seconds] += (ContinuousClock.now - start).seconds
    return value
  }

  /// Notes a frame that was sent `times` times.
  mutating func count(elementCount: Int, byteCount: Int, times: Int) {
    rawByteCount += 4 * elementCount * times
    wireByteCount += byteCount * times
  }
}
