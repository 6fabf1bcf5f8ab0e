import Platform
import Testing
import Training

struct ConfigurationGridTests {
  @Test func everyCombinationIsARun() throws {
    let grid = try ConfigurationGrid([
      "model.variant=lstm,multdec", "optimizer.learningRate=1e-3,0.01,0.001", "training.lanes=6",
    ])
    #expect(
      grid.points.map(\.name) == [
        "variant=lstm,learningRate=0.001,lanes=6", "variant=lstm,learningRate=0.01,lanes=6",
        "variant=multdec,learningRate=0.001,lanes=6", "variant=multdec,learningRate=0.01,lanes=6",
      ], "a value that is written in two ways is one")
    #expect(
      grid.points[1].settings == [
        "model.variant=lstm", "optimizer.learningRate=0.01", "training.lanes=6",
      ])
    let alone = try ConfigurationGrid([]).points
    #expect(alone.map(\.name) == ["run"] && alone[0].settings.isEmpty)
  }

  @Test func namesTellKeysApartAndFitADirectory() throws {
    let grid = try ConfigurationGrid(["model.dropout.input=0.5", "model.dropout.output=0"])
    #expect(grid.points[0].name == "input=0.5,output=0.0")
    let same = try ConfigurationGrid(["optimizer.kind=sgd", "schedule.kind=linear"])
    #expect(same.points[0].name == "optimizer.kind=sgd,schedule.kind=linear")
    let long = try ConfigurationGrid(ConfigurationKey.all.map { "\($0.path)=\($0.show(RunConfiguration()))" })
    #expect(long.points.count == 1 && long.points[0].name.utf8.count <= 200)
  }

  @Test func aRandomChoiceIsRepeatableAndGrows() throws {
    let settings = [
      "training.seed=\((0..<1000).map(String.init).joined(separator: ","))",
      "model.hidden=\((1...1000).map(String.init).joined(separator: ","))",
    ]
    let some = try ConfigurationGrid(settings, choosing: 5).points
    #expect(Set(some.map(\.name)).count == 5)
    #expect(try ConfigurationGrid(settings, choosing: 8).points.prefix(5) == some[...])
    #expect(try ConfigurationGrid(settings, choosing: 5, seed: 2).points != some)
    #expect(try ConfigurationGrid(["training.seed=1,2,3"], choosing: 9).points.count == 3)
  }

  @Test(arguments: [
    (["training.seed"], "expected key.path=value,value"),
    (["training.sed=1,2"], "nearest known key is training.seed"),
    (["training.seed=1,x"], "training.seed: expected an integer from 0"),
    (["training.seed=1,"], "training.seed: expected an integer from 0"),
    (["training.seed=1", "training.seed=2"], "found it twice"),
    (
      [
        "training.seed=\((0..<200).map(String.init).joined(separator: ","))",
        "model.hidden=\((1...200).map(String.init).joined(separator: ","))",
      ], "expected at most 10000 combinations, found 40000"
    ),
  ])
  func whatIsNoGridIsRefused(settings: [String], expected: String) throws {
    let error = #expect(throws: MilmError.self) { try ConfigurationGrid(settings) }
    #expect(error?.description.contains(expected) == true, "\(String(describing: error))")
  }
}
