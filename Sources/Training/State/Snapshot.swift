import Checkpoints
import Communication
import Foundation
import LanguageModel
import Layers
import Reporting
import Synchronization
import Tensors

/// A copy of everything that makes up a run at one step, for rank 0 to write
/// and to evaluate while training goes on.
///
/// One is allocated for the run and filled again. `@unchecked Sendable`:
/// whoever fills it has waited until the work on it was done.
final class Snapshot: @unchecked Sendable {
  let parameters: ParameterBuffer
  let moments: [(name: String, buffer: ParameterBuffer)]
  /// The state of all lanes, in their order.
  let carried: CarriedState
  /// What error feedback owes; empty where all is zero.
  var residuals: [(part: ResidualPart, values: Matrix)] = []
  /// Counters and settings as of this step.
  var state: CheckpointState
  /// How long it took to copy parameters and moments, while training stood still.
  var copySeconds = 0.0
  /// Entered while other ranks still send what they alone have.
  private let arrival = DispatchGroup()
  /// Why it will never be whole.
  private let failure = Mutex<(any Error)?>(nil)
  private let arena = Arena()
  private var residualArena = Arena()

  /// Memory for snapshots of a replica and of the lanes of all ranks.
  init(_ replica: Replica) {
    parameters = ParameterBuffer(replica.parameters.list)
    moments = replica.optimizer.moments.map { ($0.name, ParameterBuffer(replica.parameters.list)) }
    carried = CarriedState(
      like: replica.pass.carriedState, laneCount: replica.configuration.training.lanes, in: arena)
    state = replica.state
  }

  /// Parameters and moments.
  var buffers: [ParameterBuffer] { [parameters] + moments.map(\.buffer) }

  /// Says that something is still to come.
  func beginArrival() { arrival.enter() }

  /// Says that it has come, or why it will not.
  func endArrival(_ result: Result<Void, any Error>) {
    if case .failure(let error) = result { failure.withLock { $0 = error } }
    arrival.leave()
  }

  /// Waits until all is there; throws where it is not to be had.
  func waitUntilWhole() throws {
    arrival.wait()
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  /// Has the kernel give the memory, before it is filled for the first time.
  func touch() {
    for buffer in buffers { buffer.touch() }
  }

  /// The files of a checkpoint, beside `state.json`.
  func files(_ configuration: RunConfiguration) -> [CheckpointFile] {
    let metadata = [
      "format": "milm", "variant": configuration.model.variant.rawValue,
      "form": configuration.model.form.rawValue, "step": "\(state.step)", "vocabulary": state.vocabularyHash,
      "config": configuration.json,
    ]
    var files = [
      CheckpointFile(.model, metadata: metadata, tensors: parameters.tensorBytes()),
      CheckpointFile(
        .optimizer, tensors: moments.flatMap { $0.buffer.tensorBytes(prefix: "\($0.name).") }),
      CheckpointFile(.carry, tensors: carried.parts.map { $0.values.tensorBytes(name: $0.name) }),
    ]
    if !residuals.isEmpty {
      files.append(
        CheckpointFile(
          .exchange,
          tensors: residuals.map { part, values in
            TensorBytes(
              name: part.tensorName, shape: [values.count],
              floats: UnsafeBufferPointer(start: values.data, count: values.count))
          }))
    }
    return files
  }

  /// Copies what a replica keeps up to date: parameters, moments, counters.
  fileprivate func copy(from replica: Replica) {
    let start = ContinuousClock.now
    for (own, other) in zip(buffers, replica.buffers) {
      own.copy(replica.shard, from: other, engine: replica.engine)
    }
    copySeconds = (ContinuousClock.now - start).inSeconds
    state = replica.state
  }

  /// Forgets the residuals of the snapshot before.
  func removeResiduals() {
    residuals.removeAll()
    residualArena = Arena()
  }

  /// Takes over one array of residuals.
  func add(_ part: ResidualPart, _ values: UnsafeBufferPointer<Float>) {
    let copy = residualArena.matrix(rowCount: 1, columnCount: values.count)
    if let start = values.baseAddress { copy.data.update(from: start, count: values.count) }
    residuals.append((part, copy))
  }
}

extension Replica {
  /// Copies this rank's share of the run into rank 0's snapshot, which the other ranks do
  /// not have; all ranks call it.
  ///
  /// What a rank alone has of the parameters is still on its way afterwards: `Snapshot.waitUntilWhole`.
  func collect(into snapshot: Snapshot?, by transfer: ShardTransfer?) throws {
    // What the other ranks send arrives meanwhile.
    snapshot?.copy(from: self)
    let control = ranks.control
    for (index, part) in pass.carriedState.parts.enumerated() {
      let lanesOfRanks = snapshot.map { snapshot in
        (0..<ranks.rankCount).map { snapshot.carried.parts[index].values.rows(share.lanes(of: $0)).bytes }
      }
      _ = try control.gather(
        "carried state \(part.name)", UnsafeRawBufferPointer(part.values.bytes), to: Ranks.coordinator,
        into: lanesOfRanks ?? [])
    }
    snapshot?.removeResiduals()
    try exchange.gatherResiduals(over: control, to: Ranks.coordinator) { part, values in
      snapshot?.add(part, values)
    }
    try transfer?.begin(self, into: snapshot)
  }
}

extension ResidualPart {
  /// The name in `exchange.safetensors`.
  var tensorName: String {
    switch self {
    case .sender(let rank): "sender." + String(format: "%04d", rank)
    case .owner: "owner"
    }
  }
}

extension Matrix {
  /// All elements as bytes; the rows must lie next to each other.
  var bytes: UnsafeMutableRawBufferPointer {
    precondition(isContiguous, "bytes of rows that lie apart")
    return UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(start: data, count: count))
  }

  func tensorBytes(name: String) -> TensorBytes {
    TensorBytes(
      name: name, shape: [rowCount, columnCount], floats: UnsafeBufferPointer(start: data, count: count))
  }
}
