import Checkpoints
import Communication
import Foundation
import LanguageModel
import Layers
import Platform
import Reporting
import Synchronization
import Tensors

/// A copy of a training state, on rank 0, which is written and evaluated while training continues.
///
/// One is allocated per run and filled again. `@unchecked Sendable`: it is filled only once the work on the previous
/// contents is done.
final class Snapshot: @unchecked Sendable {
  let parameters: ParameterBuffer
  let moments: [(name: String, buffer: ParameterBuffer)]
  /// The carried state of all lanes.
  let carriedState: CarriedState
  /// Residuals of the exchange; empty where all are zero.
  private(set) var residuals: [(name: String, values: Matrix)] = []
  /// The counters at the step of the snapshot.
  var counters: CheckpointState
  /// How long training was stalled while parameters and moments were copied.
  var copySeconds = 0.0
  /// Entered while shards of other ranks arrive.
  private let arrival = DispatchGroup()
  /// The error that ended the transfer.
  private let failure = Mutex<(any Error)?>(nil)
  private let arena: Arena
  private var residualArena = Arena()

  /// Memory for the state of all ranks.
  init(_ state: TrainingState, in arena: Arena = Arena()) {
    self.arena = arena
    parameters = ParameterBuffer(state.parameters.list, in: arena)
    moments = state.optimizer.moments.map { ($0.name, ParameterBuffer(state.parameters.list, in: arena)) }
    carriedState = CarriedState(
      like: state.pass.carriedState, laneCount: state.configuration.training.lanes, in: arena)
    counters = state.counters
  }

  var buffers: [ParameterBuffer] { [parameters] + moments.map(\.buffer) }

  /// Allocates its pages, before it is filled for the first time.
  func touch() {
    for buffer in buffers { buffer.touch() }
  }

  /// Notes that shards are still to arrive.
  func beginArrival() { arrival.enter() }

  /// Marks the arrival of all shards, or records the failure.
  func endArrival(_ result: Result<Void, any Error>) {
    if case .failure(let error) = result { failure.withLock { $0 = error } }
    arrival.leave()
  }

  /// Waits until all shards have arrived; throws where that has failed.
  func waitUntilComplete() throws {
    arrival.wait()
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  /// Drops the residuals of the previous snapshot.
  func removeResiduals() {
    residuals.removeAll()
    residualArena = Arena()
  }

  /// Copies one array of residuals.
  func add(_ name: String, _ values: UnsafeBufferPointer<Float>) {
    let copy = residualArena.matrix(rowCount: 1, columnCount: values.count)
    if let start = values.baseAddress { copy.data.update(from: start, count: values.count) }
    residuals.append((name, copy))
  }

  /// The files of a checkpoint, beside `state.json`.
  func files(_ configuration: RunConfiguration) -> [CheckpointFile] {
    var files = [
      CheckpointFile(parameters, of: configuration, counters),
      CheckpointFile(
        .optimizer, tensors: moments.flatMap { $0.buffer.tensorBytes(prefix: "\($0.name).") }),
      CheckpointFile(
        .carry,
        tensors: carriedState.parts.map { $0.values.tensorBytes(name: $0.name, shape: $0.shape) }),
    ]
    if !residuals.isEmpty {
      files.append(
        CheckpointFile(
          .exchange,
          tensors: residuals.map {
            $0.values.tensorBytes(name: $0.name, shape: [$0.values.count])
          }))
    }
    return files
  }
}

extension CheckpointFile {
  /// `model.safetensors` with these parameters.
  init(_ parameters: ParameterBuffer, of configuration: RunConfiguration, _ state: CheckpointState) {
    self.init(
      .model,
      metadata: [
        "format": "milm", "variant": configuration.model.variant.rawValue,
        "form": configuration.model.form.rawValue, "step": "\(state.step)",
        "vocabulary": state.vocabularyHash, "config": configuration.json,
      ], tensors: parameters.tensorBytes())
  }
}
