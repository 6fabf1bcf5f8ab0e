import CKernels

/// How one bucket becomes the mean; runs on the communication thread.
extension GradientExchange {
  func reduce(_ bucket: Bucket, report: inout ExchangeReport) throws {
    let operation = operation(bucket, .node)
    report.trace?.note(operation, floatByteCount: 4 * bucket.range.count)
    guard let node else {
      let values = gradient(bucket.range)
      return try reduceSlice(of: bucket, Slice(range: bucket.range, sums: values, means: values), &report)
    }
    report.timing(\.decodeSeconds) { _ in node.contribute(gradient(bucket.range), bucket.range.count) }
    try meet(node, operation, &report)
    if let number = node.slice {
      let range = bucket.parts(number * layout.nodeCount..<(number + 1) * layout.nodeCount)
      let slice = Slice(range: range, sums: node.sums, means: node.means(ofSlice: number))
      report.timing(\.decodeSeconds) { _ in
        node.add(from: range.lowerBound - bucket.range.lowerBound, count: range.count)
      }
      try reduceSlice(of: bucket, slice, &report)
    }
    report.trace?.note(operation, floatByteCount: 4 * bucket.range.count)
    try meet(node, operation, &report)
    report.timing(\.decodeSeconds) { _ in
      for number in 0..<layout.sliceCount {
        let range = bucket.parts(number * layout.nodeCount..<(number + 1) * layout.nodeCount)
        gradient(range).update(from: node.means(ofSlice: number), count: range.count)
      }
    }
  }

  func meet(_ node: NodeMemory, _ operation: CollectiveOperation, _ report: inout ExchangeReport) throws {
    try report.timing(\.wireSeconds) { _ in
      try node.shared.meet(communicator.watch(operation, step.limits))
    }
  }

  /// Makes the sums over this node's ranks the means over all ranks.
  private func reduceSlice(of bucket: Bucket, _ slice: Slice, _ report: inout ExchangeReport) throws {
    guard layout.nodeCount > 1 else { return takeOwnSums(bucket, slice) }
    report.trace?.note(operation(bucket, .reduce), floatByteCount: 4 * slice.range.count)
    let toOwners = try report.timing(\.encodeSeconds) { report in
      try encodeParts(bucket, slice, report: &report)
    }
    let parts = try exchange(bucket, .reduce, outgoing: toOwners, report: &report)
    try report.timing(\.decodeSeconds) { _ in try sumOwnPart(bucket, slice, parts) }
    report.trace?.note(operation(bucket, .distribute), floatByteCount: 4 * slice.range.count)
    let mean = try report.timing(\.encodeSeconds) { _ in try encodeMean(bucket) }
    report.count(
      elementCount: ownPart(bucket).count, byteCount: mean.count, times: layout.nodeCount - 1)
    let outgoing = Array(repeating: mean, count: layout.nodeCount)
    let means = try exchange(bucket, .distribute, outgoing: outgoing, report: &report)
    try report.timing(\.decodeSeconds) { _ in try takeMeans(bucket, slice, means, own: mean) }
  }

  /// With one node the sums are all there is; what came from a run with more is still owed.
  private func takeOwnSums(_ bucket: Bucket, _ slice: Slice) {
    let count = slice.range.count
    if slice.means != slice.sums { slice.means.update(from: slice.sums, count: count) }
    if communicator.rankCount > 1 { CKernels_codecDivide(slice.means, Float(communicator.rankCount), count) }
    guard let residuals, !residuals.areZero else { return }
    let own = residuals.owner
    CKernels_codecAdd(slice.means, own.committed.start + bucket.ownOffset, count)
    (own.next.start + bucket.ownOffset).update(repeating: 0, count: count)
  }

  /// Encodes, for each other node's leader of the slice, the part it owns.
  private func encodeParts(
    _ bucket: Bucket, _ slice: Slice, report: inout ExchangeReport
  ) throws -> [UnsafeRawBufferPointer] {
    try peers.indices.map { node in
      guard peers[node] != communicator.rank else { return UnsafeRawBufferPointer(start: nil, count: 0) }
      let part = part(bucket, of: peers[node])
      let frame = try encode(
        slice.sums(part), frame(bucket, .reduce, part.count), residuals?.sender, at: part.lowerBound,
        into: workspace.outgoingSlot(node))
      report.count(elementCount: part.count, byteCount: frame.count, times: 1)
      return frame
    }
  }

  /// Adds all nodes' values of the part this rank owns, in the order of nodes,
  /// and divides by the number of ranks.
  private func sumOwnPart(_ bucket: Bucket, _ slice: Slice, _ frames: [UnsafeRawBufferPointer]) throws {
    let part = ownPart(bucket)
    let sum = workspace.sum.start
    for (node, sender) in peers.enumerated() {
      let decoded = node == 0 ? sum : workspace.decoded.start
      if sender == communicator.rank {
        decoded.update(from: slice.sums(part), count: part.count)
      } else {
        try decode(frames[node], from: sender, bucket, .reduce, part.count, into: decoded)
      }
      if node > 0 { CKernels_codecAdd(sum, decoded, part.count) }
    }
    CKernels_codecDivide(sum, Float(communicator.rankCount), part.count)
  }

  /// Encodes the mean of this rank's part.
  private func encodeMean(_ bucket: Bucket) throws -> UnsafeRawBufferPointer {
    try encode(
      workspace.sum.start, frame(bucket, .distribute, ownPart(bucket).count), residuals?.owner,
      at: bucket.ownOffset, into: workspace.outgoingSlot(layout.node(of: communicator.rank)))
  }

  /// Writes what all owners' frames decode to where the slice's means belong.
  private func takeMeans(
    _ bucket: Bucket, _ slice: Slice, _ frames: [UnsafeRawBufferPointer], own: UnsafeRawBufferPointer
  ) throws {
    for (node, owner) in peers.enumerated() {
      let part = part(bucket, of: owner)
      let frame = owner == communicator.rank ? own : frames[node]
      try decode(frame, from: owner, bucket, .distribute, part.count, into: slice.means(part))
    }
  }
}

/// The elements of a bucket that one rank of a node sends and receives for all of them.
private struct Slice {
  let range: Range<Int>
  let sums: UnsafeMutablePointer<Float>
  let means: UnsafeMutablePointer<Float>

  func sums(_ part: Range<Int>) -> UnsafeMutablePointer<Float> {
    sums + (part.lowerBound - range.lowerBound)
  }

  func means(_ part: Range<Int>) -> UnsafeMutablePointer<Float> {
    means + (part.lowerBound - range.lowerBound)
  }
}

extension GradientExchange {
  /// The elements of a bucket that a rank owns: none for a rank that leads no slice.
  func part(_ bucket: Bucket, of rank: Int) -> Range<Int> {
    layout.partNumber(of: rank).map(bucket.part) ?? bucket.range.lowerBound..<bucket.range.lowerBound
  }

  private func ownPart(_ bucket: Bucket) -> Range<Int> { part(bucket, of: communicator.rank) }

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

  /// Sends a blob to each other leader of the slice, by node, and gives what they have sent, by node.
  private func exchange(
    _ bucket: Bucket, _ phase: CollectiveOperation.Phase, outgoing: [UnsafeRawBufferPointer],
    report: inout ExchangeReport
  ) throws -> [UnsafeRawBufferPointer] {
    report.trace?.note(
      operation(bucket, phase),
      sentByteCount: peers.indices.reduce(0) {
        $0 + (peers[$1] == communicator.rank ? 0 : outgoing[$1].count)
      })
    return try report.timing(\.wireSeconds) { _ in
      let incoming = peers.indices.map(workspace.incomingSlot)
      let byteCounts = try communicator.exchange(
        operation(bucket, phase), with: peers, outgoing: outgoing, incoming: incoming, limits: step.limits)
      return peers.indices.map { UnsafeRawBufferPointer(rebasing: incoming[$0][..<byteCounts[$0]]) }
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
    let end = ContinuousClock.now
    self[keyPath: seconds] += (end - start).seconds
    trace?.add(ExchangeTrace.Work(seconds), from: start, to: end)
    return value
  }

  /// Notes a frame that was sent `times` times.
  mutating func count(elementCount: Int, byteCount: Int, times: Int) {
    rawByteCount += 4 * elementCount * times
    wireByteCount += byteCount * times
  }
}
