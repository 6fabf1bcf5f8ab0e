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
    let slices = buckets.map { bucket in
      let values = gradient(bucket.range)
      return Slice(bucket: bucket, range: bucket.range, sums: values, means: values)
    }
    try reduce(slices, &report)
  }

  /// Adds a bucket up in shared memory, and has this rank's slice of it reduced over the nodes.
  private func reduce(_ bucket: Bucket, _ node: NodeMemory, _ report: inout ExchangeReport) throws {
    let operation = operation(bucket, .node)
    report.trace?.note(operation, floatByteCount: 4 * bucket.range.count)
    report.timing(\.decodeSeconds) { _ in node.contribute(gradient(bucket.range), bucket.range.count) }
    try meet(node, operation, &report)
    if let number = node.slice {
      let range = bucket.parts(number * layout.nodeCount..<(number + 1) * layout.nodeCount)
      report.timing(\.decodeSeconds) { _ in
        node.add(from: range.lowerBound - bucket.range.lowerBound, count: range.count)
      }
      let means = node.means(ofSlice: number)
      try reduce([Slice(bucket: bucket, range: range, sums: node.sums, means: means)], &report)
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

  /// Makes sums over this node's ranks the means over all ranks.
  ///
  /// A slice goes to its owners, and its means come back after the next one has gone out: so the wire carries one slice
  /// while the other is coded. The order is the same on all ranks. `PipelineSchedule` says how long that takes.
  private func reduce(_ slices: [Slice], _ report: inout ExchangeReport) throws {
    guard layout.nodeCount > 1 else { return slices.forEach(takeOwnSums) }
    // What is still being coded when a rank fails must not outlive the gradient.
    defer { waitForCoding() }
    var encoded = slices.first.map { encodeParts($0, turn: 0) }
    var summed: (slice: Slice, mean: Coding<Frames>)?
    var taken: [Coding<Void>] = []
    for (number, slice) in slices.enumerated() {
      let turn = number % ExchangeWorkspace.turnCount
      guard let toOwners = try encoded?.finish(&report) else { break }
      encoded = number + 1 < slices.count ? encodeParts(slices[number + 1], turn: 1 - turn) : nil
      let parts = try exchange(
        slice.bucket, .reduce, toOwners, into: workspace.incomingParts[turn], report: &report)
      let mean = encodeMean(of: slice, parts, turn: turn)
      if let summed { taken.append(try distribute(summed.slice, summed.mean, turn: 1 - turn, &report)) }
      summed = (slice, mean)
    }
    if let summed {
      let turn = (slices.count - 1) % ExchangeWorkspace.turnCount
      taken.append(try distribute(summed.slice, summed.mean, turn: turn, &report))
    }
    for means in taken { try means.finish(&report) }
  }

  /// Sends the mean of this rank's part, once it is encoded, and has those of the others decoded.
  private func distribute(
    _ slice: Slice, _ encoded: Coding<Frames>, turn: Int, _ report: inout ExchangeReport
  ) throws -> Coding<Void> {
    let mean = try encoded.finish(&report).list[0]
    let outgoing = Frames(list: Array(repeating: mean, count: layout.nodeCount))
    let means = try exchange(
      slice.bucket, .distribute, outgoing, into: workspace.incomingMeans[turn], report: &report)
    return takeMeans(slice, means)
  }

  /// With one node the sums are all there is; what came from a run with more is still owed.
  private func takeOwnSums(_ slice: Slice) {
    let count = slice.range.count
    if slice.means != slice.sums { slice.means.update(from: slice.sums, count: count) }
    if communicator.rankCount > 1 { CKernels_codecDivide(slice.means, Float(communicator.rankCount), count) }
    guard let residuals, !residuals.areZero else { return }
    let own = residuals.owner
    CKernels_codecAdd(slice.means, own.committed.start + slice.bucket.ownOffset, count)
    (own.next.start + slice.bucket.ownOffset).update(repeating: 0, count: count)
  }
}

/// What the coding thread does for the communication thread.
extension GradientExchange {
  /// Work of the coding thread under way, with what it costs.
  private struct Coding<Value: Sendable> {
    let answer: Promise<(value: Value, cost: ExchangeReport)>

    /// Waits for it, and takes its cost into the report.
    func finish(_ report: inout ExchangeReport) throws -> Value {
      let (value, cost) = try answer.value()
      report.add(cost)
      return value
    }
  }

  private func code<Value: Sendable>(
    _ bucket: Bucket, _ phase: CollectiveOperation.Phase, elementCount: Int,
    _ work: @escaping @Sendable (inout ExchangeReport) throws -> Value
  ) -> Coding<Value> {
    var blank = ExchangeReport(codec: step.codec, isTraced: isTraced, worker: .coding)
    blank.trace?.note(operation(bucket, phase), floatByteCount: 4 * elementCount)
    return Coding(
      answer: coding.start { [blank] in
        var cost = blank
        return (try work(&cost), cost)
      })
  }

  private func waitForCoding() {
    _ = try? coding.start {}.value()
  }

  /// Encodes, for each other node's leader of the slice, the part it owns.
  private func encodeParts(_ slice: Slice, turn: Int) -> Coding<Frames> {
    let bucket = slice.bucket
    return code(bucket, .reduce, elementCount: slice.range.count) { [self] cost in
      try cost.timing(\.encodeSeconds) { cost in
        let frames = try peers.indices.map { node in
          guard peers[node] != communicator.rank else { return UnsafeRawBufferPointer(start: nil, count: 0) }
          let part = part(bucket, of: peers[node])
          let frame = try encode(
            slice.sums(part), frame(bucket, .reduce, part.count), residuals?.sender, at: part.lowerBound,
            into: workspace.outgoing[turn][node])
          cost.count(elementCount: part.count, byteCount: frame.count, times: 1)
          return frame
        }
        return Frames(list: frames)
      }
    }
  }

  /// Adds all nodes' values of the part this rank owns, in the order of nodes, divides by the number of ranks,
  /// encodes the mean, and takes over itself what the others will decode.
  private func encodeMean(of slice: Slice, _ frames: Frames, turn: Int) -> Coding<Frames> {
    let (bucket, part) = (slice.bucket, ownPart(slice.bucket))
    return code(bucket, .distribute, elementCount: part.count) { [self] cost in
      let sum = workspace.sum.start
      try cost.timing(\.decodeSeconds) { _ in
        // Each pass reads and writes tens of megabytes a step: the sum begins where its first terms are.
        var total = sum
        for (node, sender) in peers.enumerated() {
          var terms = slice.sums(part)
          if sender != communicator.rank {
            terms = node == 0 ? sum : workspace.decoded.start
            try decode(frames.list[node], from: sender, bucket, .reduce, part.count, into: terms)
          }
          guard node > 0 else {
            total = terms
            continue
          }
          let divisor = node == peers.count - 1 ? communicator.rankCount : 1
          CKernels_codecMean(total, terms, Float(divisor), sum, part.count)
          total = sum
        }
      }
      let mean = try cost.timing(\.encodeSeconds) { _ in
        try encode(
          sum, frame(bucket, .distribute, part.count), residuals?.owner, at: bucket.ownOffset,
          into: workspace.mean[turn][0], decoded: slice.means(part))
      }
      cost.count(elementCount: part.count, byteCount: mean.count, times: layout.nodeCount - 1)
      return Frames(list: [mean])
    }
  }

  /// Writes what the other owners' frames decode to where the slice's means belong.
  private func takeMeans(_ slice: Slice, _ frames: Frames) -> Coding<Void> {
    let bucket = slice.bucket
    return code(bucket, .distribute, elementCount: slice.range.count) { [self] cost in
      try cost.timing(\.decodeSeconds) { _ in
        for (node, owner) in peers.enumerated() where owner != communicator.rank {
          let part = part(bucket, of: owner)
          try decode(
            frames.list[node], from: owner, bucket, .distribute, part.count, into: slice.means(part))
        }
      }
    }
  }
}

/// Frames in the slots of the workspace.
///
/// `@unchecked Sendable`: whoever has been given them reads them; nobody writes there before their turn is over.
private struct Frames: @unchecked Sendable {
  let list: [UnsafeRawBufferPointer]
}

/// The elements of a bucket that one rank of a node sends and receives for all of them.
///
/// `@unchecked Sendable`: the communication thread and the coding thread use its elements by turns.
private struct Slice: @unchecked Sendable {
  let bucket: Bucket
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
      elementCount: elementCount, blockLength: bucket.blockLength)
  }

  /// Encodes `values` plus the residual that begins at `offset`;
  /// what is lost goes into the residual of the next step.
  private func encode(
    _ values: UnsafePointer<Float>, _ frame: FrameDescription,
    _ residual: (committed: FloatBuffer, next: FloatBuffer)?, at offset: Int,
    into slot: UnsafeMutableRawBufferPointer, decoded: UnsafeMutablePointer<Float>? = nil
  ) throws -> UnsafeRawBufferPointer {
    func coded(_ values: UnsafePointer<Float>, _ feedback: ErrorFeedback?) throws -> UnsafeRawBufferPointer {
      let byteCount = try workspace.coder.encode(
        values, as: frame, feedback: feedback, into: slot, decoded: decoded, price: price)
      return UnsafeRawBufferPointer(rebasing: slot[..<byteCount])
    }
    guard let residual else { return try coded(values, nil) }
    let feedback = ErrorFeedback(
      residual: residual.committed.start + offset, remainder: residual.next.start + offset)
    guard frame.codec.isExact else { return try coded(values, feedback) }
    // An exact frame loses nothing: the sum is made where the next residual will stand, which is then zero.
    feedback.remainder.update(from: values, count: frame.elementCount)
    CKernels_codecAdd(feedback.remainder, feedback.residual, frame.elementCount)
    defer { feedback.remainder.update(repeating: 0, count: frame.elementCount) }
    return try coded(feedback.remainder, nil)
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
      throw MilmError(
        "frame from \(communicator.label(of: expected.sender)) at \(expected.operation): \(error)")
    }
  }

  /// Sends a frame to each other leader of the slice, by node, and gives what they have sent, by node.
  private func exchange(
    _ bucket: Bucket, _ phase: CollectiveOperation.Phase, _ outgoing: Frames, into slots: FrameSlots,
    report: inout ExchangeReport
  ) throws -> Frames {
    report.trace?.note(
      operation(bucket, phase),
      sentByteCount: peers.indices.reduce(0) {
        $0 + (peers[$1] == communicator.rank ? 0 : outgoing.list[$1].count)
      })
    return try report.timing(\.wireSeconds) { _ in
      let incoming = peers.indices.map { slots[$0] }
      let byteCounts = try communicator.exchange(
        operation(bucket, phase), with: peers, outgoing: outgoing.list, incoming: incoming,
        limits: step.limits)
      return Frames(
        list: peers.indices.map { UnsafeRawBufferPointer(rebasing: incoming[$0][..<byteCounts[$0]]) })
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
    self[keyPath: seconds] += (end - start).inSeconds
    trace?.add(ExchangeTrace.Work(seconds), from: start, to: end)
    return value
  }

  /// Notes a frame that was sent `times` times.
  mutating func count(elementCount: Int, byteCount: Int, times: Int) {
    rawByteCount += 4 * elementCount * times
    wireByteCount += byteCount * times
  }
}
