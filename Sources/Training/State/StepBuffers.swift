import LanguageModel
import Layers
import Tensors

/// The memory of a step.
struct StepBuffers {
  let gradients: ParameterBuffer
  /// The carried state before the step, which a skipped step restores.
  let carriedState: CarriedState
  /// The tokens, read before the step begins.
  let tokens: StepTokens
  let arena: Arena

  /// Memory for the steps of a state.
  init(_ state: TrainingState, in arena: Arena = Arena()) {
    self.arena = arena
    gradients = ParameterBuffer(state.model.parameters, in: arena)
    carriedState = CarriedState(
      like: state.pass.carriedState, laneCount: state.pass.laneCount, in: arena)
    let ownLanes = state.laneLayout.lanes(of: state.ranks.rank)
    tokens = StepTokens(
      lanes: state.placement.lanes(own: ownLanes), ownLanes: ownLanes, state.configuration.training, in: arena
    )
  }
}
