import Foundation
import Platform
import TestSupport
import Testing
import Training

@Suite struct ConfigurationTests {
  private func configuration(_ yaml: String, _ settings: String...) throws -> RunConfiguration {
    try RunConfiguration(yaml: yaml, source: "run.yaml", settings: settings)
  }

  @Test func anEmptyFileGivesTheDefaults() throws {
    #expect(try configuration("") == RunConfiguration())
    #expect(try configuration("# nothing\n") == RunConfiguration())
  }

  @Test func everyKeySurvivesItsOwnYAML() throws {
    var changed = try configuration(
      """
      model: { variant: multdec, hidden: 300, form: lowrank, rank: 5, dropout: { input: 0.25, output: 0 } }
      training: { lanes: 6, segment: 7, steps: 8, accumulate: 2, seed: 9, precision: float32, threads: 3 }
      optimizer: { kind: sgd, learningRate: 1.5e-7, momentum: 0.5, clip: 0 }
      schedule: { kind: inverse-sqrt, warmup: 0 }
      exchange: { codec: lossless, allowLoss: false, stallAbortSeconds: 99.5 }
      coordinator: { patience: 4 }
      """)
    #expect(try configuration(changed.yaml) == changed)
    #expect(try configuration(changed.json) == changed)
    changed.training.threads = nil
    #expect(try configuration(changed.yaml) == changed)
  }

  @Test func settingsComeAfterTheFile() throws {
    let set = try configuration("training: { steps: 5 }", "training.steps=6", "model.dropout.input=0.5")
    #expect(set.training.steps == 6)
    #expect(set.model.inputDropout == 0.5)
  }

  @Test(arguments: [
    ("model:\n  hiden: 5", "run.yaml:2: unknown key model.hiden; the nearest known key is model.hidden"),
    ("modle: { hidden: 5 }", "run.yaml:1: unknown key modle; the nearest known key is model"),
    ("model:\n  hidden: big", "run.yaml:2: model.hidden: expected an integer from 1 to 65536, found 'big'"),
    ("model:\n  hidden: 0", "run.yaml:2: model.hidden: expected an integer from 1 to 65536, found '0'"),
    ("model:\n  hidden: [1]", "run.yaml:2: model.hidden: expected one value, found a list or keys"),
    (
      "model: { dropout: 0.5 }",
      "run.yaml:1: model.dropout is a section: expected model.dropout.input, model.dropout.output, "
        + "model.dropout.hidden or model.dropout.attention, found one value"
    ),
    ("hidden: 5", "run.yaml:1: unknown key hidden; the nearest known key is model.hidden"),
    ("model: { steps: 5 }", "run.yaml:1: unknown key model.steps; the nearest known key is training.steps"),
    ("{ dropout: 1 }", "run.yaml:1: unknown key dropout; the nearest known key is model.dropout"),
    (
      "model: { dropout: { input: 1 } }",
      "run.yaml:1: model.dropout.input: expected a number of at least 0 and below 1, found '1'"
    ),
    (
      "model: { variant: gru }",
      "run.yaml:1: model.variant: expected lstm | multdec | multencdec | txl | txl-multdec | txl-mi, "
        + "found 'gru'"
    ),
    (
      "training: { threads: many }",
      "run.yaml:1: training.threads: expected auto | an integer from 1 to 1024, found 'many'"
    ),
    (
      "optimizer: { learningRate: nan }",
      "run.yaml:1: optimizer.learningRate: expected a number above 0, found 'nan'"
    ),
    (
      "optimizer: { epsilon: 1e-60 }",
      "run.yaml:1: optimizer.epsilon: expected a number above 0, found '1e-60'"
    ),
    (
      "training: { accumulate: 9000000000000000000 }",
      "run.yaml:1: training.accumulate: expected an integer from 1 to 4096, found '9000000000000000000'"
    ),
    (
      "training: { lanes: 1048576, segment: 1048576 }",
      "run.yaml: training.lanes × segment × accumulate: expected at most 1073741824 tokens per step"
    ),
    ("exchange: { retune: maybe }", "run.yaml:1: exchange.retune: expected true | false, found 'maybe'"),
    (
      "exchange: { codec: int8, allowLoss: false }",
      "run.yaml: exchange.codec int8 rounds, but exchange.allowLoss is false: expected none, lossless or auto"
    ),
    (
      "{ exchange: { codec: int4 }, optimizer: { beta2: 0.9 } }",
      "run.yaml: exchange.codec int4 releases its rounding error in bursts that adam forgets with optimizer.beta2 "
        + "0.9: expected beta2 of at least 0.99, or codec int8"
    ),
  ])
  func errorsAreOneLine(yaml: String, expected: String) {
    #expect(throws: MilmError(expected)) { try configuration(yaml) }
  }

  @Test(arguments: [
    (
      "training.stps=5",
      "--set training.stps=5: unknown key training.stps; the nearest known key is training.steps"
    ),
    ("training.steps", "--set training.steps: expected key.path=value"),
    (
      "model.dropout=0.5",
      "--set model.dropout=0.5: model.dropout is a section: expected model.dropout.input, model.dropout.output, "
        + "model.dropout.hidden or model.dropout.attention"
    ),
    (
      "schedule=cosine",
      "--set schedule=cosine: schedule is a section: expected schedule.kind, schedule.warmup or schedule.final"
    ),
    ("hidden=5", "--set hidden=5: unknown key hidden; the nearest known key is model.hidden"),
    ("hiden=5", "--set hiden=5: unknown key hiden; the nearest known key is model.hidden"),
    (
      "dropout.input=0",
      "--set dropout.input=0: unknown key dropout.input; the nearest known key is model.dropout.input"
    ),
    (
      "kind=adam",
      "--set kind=adam: unknown key kind; the nearest known keys are optimizer.kind and schedule.kind"
    ),
    (
      "training.steps=x",
      "--set training.steps=x: training.steps: expected an integer from 1 to 1099511627776, found 'x'"
    ),
  ])
  func errorsInSettingsAreOneLine(setting: String, expected: String) {
    #expect(throws: MilmError(expected)) { try configuration("", setting) }
  }

  @Test(arguments: ["model: [", "a: b: c", "\t- x", "{\"model\": {\"hidden\": 3}"])
  func textThatIsNotYAMLIsRefusedInOneLine(yaml: String) {
    do {
      _ = try configuration(yaml)
      Issue.record("\(yaml) was accepted")
    } catch {
      #expect("\(error)".hasPrefix("run.yaml"))
      #expect(!"\(error)".contains("\n"))
    }
  }

  @Test func aMissingFileIsNamed() {
    let expected = "cannot read the configuration: No such file or directory"
    #expect(throws: MilmError("/nowhere.yaml: \(expected)")) {
      try RunConfiguration(contentsOf: "/nowhere.yaml")
    }
  }

  @Test(arguments: [
    ("training.steps=9", nil), ("training.threads=3", nil), ("optimizer.learningRate=1", nil),
    ("exchange.codec=int8", nil), ("exchange.vocabulary=sharded", nil), ("coordinator.patience=9", nil),
    ("optimizer.beta1=0.5", "optimizer.beta1: 0.9 in the run, 0.5 now"),
    ("model.hidden=9", "model.hidden: 2048 in the run, 9 now"),
  ])
  func whatDoesNotChangeWhatWasComputedMayDifferOnResume(setting: String, expected: String?) throws {
    let changed = try configuration("", setting)
    #expect(changed.differenceThatForbidsResuming(from: RunConfiguration()) == expected)
  }

  @Test(arguments: [
    "quickstart", "wikitext-2", "wikitext103-lstm", "wikitext103-multdec", "wikitext103-multencdec",
    "wikitext103-txl", "wikitext103-txl-multdec", "wikitext103-txl-mi",
  ])
  func shippedConfigurationsAreValid(name: String) throws {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let path = root.appendingPathComponent("configs/\(name).yaml").path
    _ = try RunConfiguration(contentsOf: path)
    #expect(try String(contentsOfFile: path, encoding: .utf8).hasPrefix("# "))
  }
}
