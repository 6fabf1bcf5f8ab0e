import Layers
import Tensors

/// How a network is conditioned on the task of an example.
enum MultitaskModelKind: String, CaseIterable, Codable, Sendable {
  /// `MI(relu(linear20(relu(linear30(x)))), linear20(z))`.
  case interaction
  /// `concat(x, linear20(z)) → linear30 → relu → linear20 → relu → linear1`.
  case conditional
  /// `linear20 → relu → linear30 → relu → linear1`, the last for each task.
  case heads

  /// The name in figures.
  var title: String {
    switch self {
    case .interaction: "multiplicative interaction"
    case .conditional: "conditional MLP"
    case .heads: "multi-headed MLP"
    }
  }

  func make(taskCount: Int, in list: inout ParameterList) -> any MultitaskModel {
    switch self {
    case .interaction: InteractionModel(taskCount: taskCount, in: &list)
    case .conditional: ConditionalModel(taskCount: taskCount, in: &list)
    case .heads: MultiHeadedModel(taskCount: taskCount, in: &list)
    }
  }
}

/// A network of x and the one-hot task, with one output.
protocol MultitaskModel {
  /// Memory for a number of rows; the closures read and write it.
  func pass(rowCount: Int, learner: Learner, in arena: Arena) -> MultitaskPass
}

/// A model with memory for a number of rows.
struct MultitaskPass {
  /// The predictions of the last `forward`.
  let output: Matrix
  /// The derivative with respect to `output`, read by `backward`.
  let outputGradient: Matrix
  let forward: (Examples) -> Void
  let backward: (Examples) -> Void
}

private struct ConditionalModel: MultitaskModel {
  let embedding: Perceptron
  let network: Perceptron

  init(taskCount: Int, in list: inout ParameterList) {
    embedding = Perceptron(name: "task", inputWidth: taskCount, layers: [(20, .identity)], in: &list)
    network = Perceptron(
      name: "network", inputWidth: 21, layers: [(30, .relu), (20, .relu), (1, .identity)], in: &list)
  }

  func pass(rowCount: Int, learner: Learner, in arena: Arena) -> MultitaskPass {
    let task = embedding.activations(rowCount: rowCount, in: arena)
    let body = network.activations(rowCount: rowCount, in: arena)
    let joined = arena.matrix(rowCount: rowCount, columnCount: 21)
    let joinedGradient = arena.matrix(rowCount: rowCount, columnCount: 21)
    let (weights, gradients, engine) = (learner.weights, learner.gradients, learner.engine)
    return MultitaskPass(output: body.output, outputGradient: body.outputGradient) { examples in
      embedding.forward(examples.tasks, weights: weights, activations: task, engine: engine)
      joined.columns(0..<1).copy(from: examples.inputs)
      joined.columns(1..<21).copy(from: task.output)
      network.forward(joined, weights: weights, activations: body, engine: engine)
    } backward: { examples in
      network.backward(
        input: joined, weights: weights, gradients: gradients, activations: body, into: joinedGradient,
        engine: engine)
      task.outputGradient.copy(from: joinedGradient.columns(1..<21))
      embedding.backward(
        input: examples.tasks, weights: weights, gradients: gradients, activations: task, engine: engine)
    }
  }
}

private struct InteractionModel: MultitaskModel {
  let embedding: Perceptron
  let network: Perceptron
  let interaction: MultiplicativeInteraction

  init(taskCount: Int, in list: inout ParameterList) {
    embedding = Perceptron(name: "task", inputWidth: taskCount, layers: [(20, .identity)], in: &list)
    network = Perceptron(name: "network", inputWidth: 1, layers: [(30, .relu), (20, .relu)], in: &list)
    interaction = MultiplicativeInteraction(
      name: "interaction", kind: .full,
      shape: InteractionShape(contextWidth: 20, inputWidth: 20, outputWidth: 1, rank: 1), in: &list)
  }

  func pass(rowCount: Int, learner: Learner, in arena: Arena) -> MultitaskPass {
    let task = embedding.activations(rowCount: rowCount, in: arena)
    let body = network.activations(rowCount: rowCount, in: arena)
    let top = interaction.activations(rowCount: rowCount, in: arena)
    let output = arena.matrix(rowCount: rowCount, columnCount: 1)
    let outputGradient = arena.matrix(rowCount: rowCount, columnCount: 1)
    let (weights, gradients, engine) = (learner.weights, learner.gradients, learner.engine)
    return MultitaskPass(output: output, outputGradient: outputGradient) { examples in
      embedding.forward(examples.tasks, weights: weights, activations: task, engine: engine)
      network.forward(examples.inputs, weights: weights, activations: body, engine: engine)
      interaction.forward(
        context: task.output, input: body.output, weights: weights, activations: top, into: output,
        engine: engine)
    } backward: { examples in
      interaction.backward(
        context: task.output, input: body.output, outputGradient: outputGradient, weights: weights,
        gradients: gradients, activations: top, intoContext: task.outputGradient,
        intoInput: body.outputGradient, engine: engine)
      network.backward(
        input: examples.inputs, weights: weights, gradients: gradients, activations: body, engine: engine)
      embedding.backward(
        input: examples.tasks, weights: weights, gradients: gradients, activations: task, engine: engine)
    }
  }
}

/// All heads are one linear layer with one output per task, of which an example uses that of its task.
private struct MultiHeadedModel: MultitaskModel {
  let network: Perceptron

  init(taskCount: Int, in list: inout ParameterList) {
    network = Perceptron(
      name: "network", inputWidth: 1, layers: [(20, .relu), (30, .relu), (taskCount, .identity)],
      in: &list)
  }

  func pass(rowCount: Int, learner: Learner, in arena: Arena) -> MultitaskPass {
    let body = network.activations(rowCount: rowCount, in: arena)
    let output = arena.matrix(rowCount: rowCount, columnCount: 1)
    let outputGradient = arena.matrix(rowCount: rowCount, columnCount: 1)
    let (weights, gradients, engine) = (learner.weights, learner.gradients, learner.engine)
    return MultitaskPass(output: output, outputGradient: outputGradient) { examples in
      network.forward(examples.inputs, weights: weights, activations: body, engine: engine)
      engine.rowDots(body.output, examples.tasks, into: output)
    } backward: { examples in
      engine.scaleRows(of: examples.tasks, by: outputGradient, column: 0, into: body.outputGradient)
      network.backward(
        input: examples.inputs, weights: weights, gradients: gradients, activations: body, engine: engine)
    }
  }
}
