import Foundation
import Layers
import Tensors
import TestSupport
import Testing

@Suite struct OptimizerTests {
  let list: ParameterList
  let weight: Parameter
  let bias: Parameter
  let engine = ComputeEngine()

  init() {
    var list = ParameterList()
    weight = list.add("weight", shape: [5, 7], initialization: .uniform(limit: 1), learningRateScale: 0.5)
    bias = list.add("bias", shape: [5], initialization: .uniform(limit: 1), decays: false)
    self.list = list
  }

  private func buffers() -> (parameters: ParameterBuffer, gradient: ParameterBuffer) {
    let parameters = ParameterBuffer(list)
    let gradient = ParameterBuffer(list)
    parameters.initialize(seed: 1, engine: engine)
    gradient.initialize(seed: 2, engine: engine)
    return (parameters, gradient)
  }

  @Test func adamFollowsItsPaper() {
    var configuration = OptimizerConfiguration()
    configuration.weightDecay = 0.1
    let optimizer = Optimizer(configuration, list: list, engine: engine)
    let (parameters, gradient) = buffers()
    var expected = parameters[weight].elements.map(Double.init)
    var mean = [Double](repeating: 0, count: 35)
    var square = mean
    let g = gradient[weight].elements.map { Double($0) * 0.25 }
    for count in 1...5 {
      optimizer.update(
        parameters, gradient: gradient, gradientScale: 0.25, learningRate: 0.01, updateCount: count)
      for index in 0..<35 {
        mean[index] = 0.9 * mean[index] + 0.1 * g[index]
        square[index] = 0.999 * square[index] + 0.001 * g[index] * g[index]
        let m = mean[index] / (1 - pow(0.9, Double(count)))
        let v = square[index] / (1 - pow(0.999, Double(count)))
        expected[index] -= 0.005 * (m / (v.squareRoot() + 1e-8) + 0.1 * expected[index])
      }
    }
    for (found, wanted) in zip(parameters[weight].elements, expected) {
      #expect(abs(Double(found) - wanted) < 1e-6)
    }
  }

  @Test func momentumFollowsItsRuleAndBiasesDoNotDecay() {
    var configuration = OptimizerConfiguration()
    configuration.kind = .sgd
    configuration.weightDecay = 0.5
    let optimizer = Optimizer(configuration, list: list, engine: engine)
    let (parameters, gradient) = buffers()
    var expected = parameters[bias].elements.map(Double.init)
    var velocity = [Double](repeating: 0, count: 5)
    for count in 1...3 {
      optimizer.update(
        parameters, gradient: gradient, gradientScale: 1, learningRate: 0.1, updateCount: count)
      for index in 0..<5 {
        velocity[index] = 0.9 * velocity[index] + Double(gradient[bias][0, index])
        expected[index] -= 0.1 * velocity[index]
      }
    }
    for (found, wanted) in zip(parameters[bias].elements, expected) {
      #expect(abs(Double(found) - wanted) < 1e-6)
    }
  }

  @Test(arguments: [0.25, 100.0, 0])
  func clippingBoundsTheNorm(clip: Double) {
    var configuration = OptimizerConfiguration()
    configuration.clip = clip
    let optimizer = Optimizer(configuration, list: list, engine: engine)
    let (_, gradient) = buffers()
    let elements = gradient[weight].elements + gradient[bias].elements
    let norm = optimizer.norm(of: gradient)
    #expect(abs(norm - elements.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()) < 1e-9)
    let clipped = norm * optimizer.clippingScale(norm: norm)
    #expect(abs(clipped - (clip > 0 ? min(norm, clip) : norm)) < 1e-9)
  }

  @Test(arguments: [1, 2, 3])
  func resultsDoNotDependOnTheNumberOfThreads(threadCount: Int) throws {
    var list = ParameterList()
    let large = list.add("large", shape: [300_001], initialization: .uniform(limit: 1))
    func run(_ engine: ComputeEngine) -> (Double, [Float]) {
      let parameters = ParameterBuffer(list)
      let gradient = ParameterBuffer(list)
      parameters.initialize(seed: 1, engine: engine)
      gradient.initialize(seed: 2, engine: engine)
      let optimizer = Optimizer(OptimizerConfiguration(), list: list, engine: engine)
      let norm = optimizer.norm(of: gradient)
      optimizer.update(parameters, gradient: gradient, gradientScale: 1, learningRate: 0.1, updateCount: 1)
      return (norm, parameters[large].elements)
    }
    let one = run(ComputeEngine())
    let several = run(try ComputeEngine(threadCount: threadCount))
    #expect(one.0 == several.0)
    #expect(firstDifference(one.1, several.1) == nil)
  }
}

@Suite struct ScheduleTests {
  @Test(arguments: Schedule.Kind.allCases)
  func warmUpRisesFromNearZeroToThePeak(kind: Schedule.Kind) {
    var schedule = Schedule()
    schedule.kind = kind
    schedule.warmup = 10
    let rates = (0..<10).map { schedule.learningRate(step: $0, stepCount: 100, peak: 1) }
    #expect(zip(rates, rates.dropFirst()).allSatisfy { $0 < $1 })
    #expect(rates[0] == 0.1 && rates[9] == 1)
  }

  @Test(arguments: [
    (Schedule.Kind.constant, 1.0), (.linear, 0.5005), (.cosine, 0.5005), (.inverseSquareRoot, 0.44612),
    (.plateau, 0.25),
  ])
  func middleOfTheRunHasItsRate(kind: Schedule.Kind, expected: Double) {
    var schedule = Schedule()
    schedule.kind = kind
    schedule.warmup = kind == .inverseSquareRoot ? 10 : 0
    schedule.final = 0.001
    let step = kind == .inverseSquareRoot ? 49 : 50
    let rate = schedule.learningRate(step: step, stepCount: 100, peak: 1, plateauScale: 0.25)
    #expect(abs(rate - (kind == .inverseSquareRoot ? (10.0 / 50).squareRoot() : expected)) < 1e-3)
  }

  @Test(arguments: [Schedule.Kind.linear, .cosine])
  func lastStepHasTheFinalRate(kind: Schedule.Kind) {
    var schedule = Schedule()
    schedule.kind = kind
    schedule.warmup = 5
    schedule.final = 0.02
    #expect(abs(schedule.learningRate(step: 100, stepCount: 100, peak: 1) - 0.02) < 1e-9)
  }
}
