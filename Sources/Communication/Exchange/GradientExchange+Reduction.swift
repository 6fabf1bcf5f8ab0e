import CKernels
import Platform

/// How the buckets of a range become means; runs on the communication thread.
extension GradientExchange {
  func reduce(_ indices: Range<Int>, report: inout ExchangeReport) throws {
    let buckets = plan.buckets[indices]
    if let node {
      for bucket in buckets { try reduce(bucket, node, &report) }
      return
    }
    let partitions = buckets.map { bucket in
      let values = gradient(bucket.range)
      return Partition(bucket: bucket, range: bucket.range, sums: values, means: values)
    }
    try reduce(partitions, &report)
  }

  /// Sums a bucket in shared memory, and reduces this rank's partition of it over the nodes.
  private func reduce(_ bucket: Bucket, _ node: NodeMemory, _ report: inout ExchangeReport) throws {
    let operation = operation(bucket, .node)
    report.trace?.note(operation, floatByteCount: 4 * bucket.range.count)
    report.timing(.decode) { _ in node.contribute(gradient(bucket.range), bucket.range.count) }
    try barrier(node, operation, &report)
    if let number = node.partition {
      let range = bucket.chunks(number * layout.nodeCount..<(number + 1) * layout.nodeCount)
      report.timing(.decode) { _ in
        node.sumContributions(from: range.lowerBound - bucket.range.lowerBound, count: range.count)
      }
      let means = node.means(ofPartition: number)
      try reduce([Partition(bucket: bucket, range: range, sums: node.sums, means: means)], &report)
    }
    report.trace?.note(operation, floatByteCount: 4 * bucket.range.count)
    try barrier(node, operation, &report)
    report.timing(.decode) { _ in
      for number in 0..<layout.partitionCount {
        let range = bucket.chunks(number * layout.nodeCount..<(number + 1) * layout.nodeCount)
        gradient(range).update(from: node.means(ofPartition: number), count: range.count)
      }
    }
  }

  /// Waits for the other ranks of the node.
  func barrier(
    _ node: NodeMemory, _ operation: MessageTag, _ report: inout ExchangeReport
  ) throws {
    try report.timing(.wire) { _ in
      try node.shared.barrier(communicator.watch(operation, step.limits))
    }
  }

  /// Reduces sums over this node's ranks to means over all ranks: a reduce-scatter of encoded chunks, then an all-gather of
  /// the encoded means.
  ///
  /// A partition is sent to its owners, and its means are received after the next one is sent: one partition is on the wire
  /// while the other is coded. The order is the same on all ranks; `PipelineSchedule` predicts the time.
  private func reduce(_ partitions: [Partition], _ report: inout ExchangeReport) throws {
    guard layout.nodeCount > 1 else { return partitions.forEach(applyOwnSums) }
    // The codec thread must not use the gradient after this returns, even where it throws.
    defer { waitForCoding() }
    var encoded = partitions.first.map { encodeChunks($0, set: 0) }
    var summed: (partition: Partition, mean: Coding<[FrameMessage]>)?
    var decoding: [Coding<Void>] = []
    for (number, partition) in partitions.enumerated() {
      let set = number % Self.slotSetCount
      guard let toOwners = try encoded?.finish(&report) else { break }
      encoded = number + 1 < partitions.count ? encodeChunks(partitions[number + 1], set: 1 - set) : nil
      let received = try chunks.exchange(
        operation(partition.bucket, .reduce), toOwners, set: set, limits: step.limits, report: &report)
      let mean = encodeMean(of: partition, received, set: set)
      if let summed { decoding.append(try distribute(summed.partition, summed.mean, set: 1 - set, &report)) }
      summed = (partition, mean)
    }
    if let summed {
      let set = (partitions.count - 1) % Self.slotSetCount
      decoding.append(try distribute(summed.partition, summed.mean, set: set, &report))
    }
    for means in decoding { try means.finish(&report) }
  }

  /// Sends the mean of this rank's chunk, once it is encoded, and starts to decode those of the others.
  private func distribute(
    _ partition: Partition, _ encoded: Coding<[FrameMessage]>, set: Int, _ report: inout ExchangeReport
  ) throws -> Coding<Void> {
    let received = try means.exchange(
      operation(partition.bucket, .distribute), try encoded.finish(&report), set: set, limits: step.limits,
      report: &report)
    return decodeMeans(partition, received)
  }

  /// With one node the sums need no exchange; residuals of a run with more nodes are added.
  private func applyOwnSums(_ partition: Partition) {
    let count = partition.range.count
    if partition.means != partition.sums { partition.means.update(from: partition.sums, count: count) }
    if communicator.rankCount > 1 {
      CKernels_codecDivide(partition.means, Float(communicator.rankCount), count)
    }
    guard let residuals, !residuals.areZero else { return }
    let own = residuals.owner
    CKernels_codecAdd(partition.means, own.committed.start + partition.bucket.ownOffset, count)
    (own.next.start + partition.bucket.ownOffset).update(repeating: 0, count: count)
  }
}

/// Work of the codec thread, started by the communication thread.
extension GradientExchange {
  /// A job in progress and its cost.
  private struct Coding<Value: Sendable> {
    let promise: Promise<(value: Value, cost: ExchangeReport)>

    /// Waits for it, and adds its cost to the report.
    func finish(_ report: inout ExchangeReport) throws -> Value {
      let (value, cost) = try promise.value()
      report.add(cost)
      return value
    }
  }

  private func code<Value: Sendable>(
    _ bucket: Bucket, _ phase: MessageTag.Phase, elementCount: Int,
    _ work: @escaping @Sendable (inout ExchangeReport) throws -> Value
  ) -> Coding<Value> {
    var blank = ExchangeReport(codec: step.codec, isTraced: isTraced, worker: .coding)
    blank.trace?.note(operation(bucket, phase), floatByteCount: 4 * elementCount)
    return Coding(
      promise: coding.start { [blank] in
        var cost = blank
        return (try work(&cost), cost)
      })
  }

  private func waitForCoding() {
    _ = try? coding.start {}.value()
  }

  /// Encodes, for each other leader of the partition, the chunk it owns.
  private func encodeChunks(_ partition: Partition, set: Int) -> Coding<[FrameMessage]> {
    let bucket = partition.bucket
    return code(bucket, .reduce, elementCount: partition.range.count) { [self] cost in
      try cost.timing(.encode) { _ in
        try peers.indices.map { node in
          guard peers[node] != communicator.rank else { return FrameMessage() }
          let chunk = chunk(bucket, of: peers[node])
          return try withResidual(
            partition.sums(chunk), count: chunk.count, residuals?.sender, at: chunk.lowerBound
          ) { values, feedback in
            try chunks.encode(
              values, count: chunk.count, as: format(bucket), operation(bucket, .reduce), into: node,
              set: set, feedback: feedback, price: price)
          }
        }
      }
    }
  }

  /// Sums all nodes' values of the chunk this rank owns, in the order of nodes, divides by the number of ranks,
  /// encodes the mean, and applies here what the others will decode.
  private func encodeMean(
    of partition: Partition, _ messages: [FrameMessage], set: Int
  ) -> Coding<[FrameMessage]> {
    let bucket = partition.bucket
    let chunk = chunk(bucket, of: communicator.rank)
    return code(bucket, .distribute, elementCount: chunk.count) { [self] cost in
      let sum = sum.start
      try cost.timing(.decode) { _ in
        // Each pass reads and writes tens of megabytes per step: the sum starts in the memory of its first terms.
        var total = sum
        for (node, sender) in peers.enumerated() {
          var terms = partition.sums(chunk)
          if sender != communicator.rank {
            terms = node == 0 ? sum : decoded.start
            try chunks.decode(
              messages[node], from: sender, as: format(bucket), operation(bucket, .reduce),
              elementCounts: chunk.count...chunk.count, into: terms)
          }
          guard node > 0 else {
            total = terms
            continue
          }
          let divisor = node == peers.count - 1 ? communicator.rankCount : 1
          CKernels_codecMean(total, terms, Float(divisor), sum, chunk.count)
          total = sum
        }
      }
      let mean = try cost.timing(.encode) { _ in
        try withResidual(sum, count: chunk.count, residuals?.owner, at: bucket.ownOffset) {
          values, feedback in
          try means.encode(
            values, count: chunk.count, as: format(bucket), operation(bucket, .distribute), into: 0,
            set: set, feedback: feedback, decoded: partition.means(chunk), price: price)
        }
      }
      return Array(repeating: mean, count: peers.count)
    }
  }

  /// Decodes the other owners' means to their place in the partition.
  private func decodeMeans(_ partition: Partition, _ messages: [FrameMessage]) -> Coding<Void> {
    let bucket = partition.bucket
    return code(bucket, .distribute, elementCount: partition.range.count) { [self] cost in
      try cost.timing(.decode) { _ in
        for (node, owner) in peers.enumerated() where owner != communicator.rank {
          let chunk = chunk(bucket, of: owner)
          try means.decode(
            messages[node], from: owner, as: format(bucket), operation(bucket, .distribute),
            elementCounts: chunk.count...chunk.count, into: partition.means(chunk))
        }
      }
    }
  }

  /// Encodes `values` plus the residual that begins at `offset`; the rounding error becomes the residual of the next step.
  private func withResidual(
    _ values: UnsafePointer<Float>, count: Int, _ residual: (committed: FloatBuffer, next: FloatBuffer)?,
    at offset: Int, encode: (UnsafePointer<Float>, ErrorFeedback?) throws -> FrameMessage
  ) throws -> FrameMessage {
    guard let residual else { return try encode(values, nil) }
    let feedback = ErrorFeedback(
      residual: residual.committed.start + offset, roundingError: residual.next.start + offset)
    guard step.codec.isExact else { return try encode(values, feedback) }
    // An exact frame has no rounding error: the sum is made in the memory of the next residual, which is then zero.
    feedback.roundingError.update(from: values, count: count)
    CKernels_codecAdd(feedback.roundingError, feedback.residual, count)
    defer { feedback.roundingError.update(repeating: 0, count: count) }
    return try encode(feedback.roundingError, nil)
  }
}

/// A partition of a bucket, which one rank of each node reduces over the nodes; the whole bucket where a node is one rank.
///
/// `@unchecked Sendable`: the codec thread uses its elements only while the communication thread waits.
private struct Partition: @unchecked Sendable {
  let bucket: Bucket
  let range: Range<Int>
  let sums: UnsafeMutablePointer<Float>
  let means: UnsafeMutablePointer<Float>

  func sums(_ chunk: Range<Int>) -> UnsafeMutablePointer<Float> {
    sums + (chunk.lowerBound - range.lowerBound)
  }

  func means(_ chunk: Range<Int>) -> UnsafeMutablePointer<Float> {
    means + (chunk.lowerBound - range.lowerBound)
  }
}

extension GradientExchange {
  /// The elements of a bucket that a rank owns: none for a rank that leads no partition.
  func chunk(_ bucket: Bucket, of rank: Int) -> Range<Int> {
    layout.chunkIndex(of: rank).map(bucket.chunk) ?? bucket.range.lowerBound..<bucket.range.lowerBound
  }

  /// The gradient of the step under way, from the start of `range`.
  func gradient(_ range: Range<Int>) -> UnsafeMutablePointer<Float> {
    guard let gradient = step.gradient else { preconditionFailure("no step has begun") }
    return gradient + range.lowerBound
  }

  private func operation(_ bucket: Bucket, _ phase: MessageTag.Phase) -> MessageTag {
    MessageTag(name: bucket.name, phase: phase, step: step.number, index: bucket.index)
  }

  private func format(_ bucket: Bucket) -> FrameFormat {
    FrameFormat(codec: step.codec, blockLength: bucket.blockLength)
  }
}
