import Checkpoints
import Foundation
import TestSupport
import Testing

/// `milm import`: weights with PyTorch's names become a run that other commands read.
@Suite(.timeLimit(.minutes(5))) struct ImportTests {
  private let folder: TemporaryFolder
  private let words: String
  private static let fixtures = repositoryFolder.appendingPathComponent("Tests/LanguageModelTests/Fixtures")
  static let names =
    ["lstm-full"]
    + ["multdec", "multencdec"].flatMap { variant in
      ["full", "lowrank", "diagonal", "scalar"].map { "\(variant)-\($0)" }
    }

  init() throws {
    folder = try TemporaryFolder()
    let list = ["<unk>", "<eos>"] + (2..<23).map { "w\($0)" }
    words = try folder.write(list.joined(separator: "\n") + "\n", to: "words.txt").path
    try folder.write("w3 w4 never w5\nw6 w22\n", to: "text.txt")
  }

  private func fixture(_ name: String) throws -> SafetensorsFile {
    try SafetensorsFile(path: Self.fixtures.appendingPathComponent("\(name).safetensors").path)
  }

  private func importing(_ path: String, _ options: String...) throws -> ProgramRun {
    try start(
      [program("milm"), "import", path, "--vocabulary", words, "--output", folder.file("run")] + options)
  }

  private func floats(_ file: SafetensorsFile, _ name: String) throws -> [Float] {
    try file.withFloats(of: name) { Array($0) }
  }

  @Test(arguments: names) func everyFixtureBecomesARun(name: String) throws {
    let fixture = try fixture(name)
    let imported = try importing(fixture.path, "--json")
    try #require(imported.status == 0, "\(imported.transcript)")
    let summary = try object(imported)
    #expect("\(summary["variant"] ?? "")-\(summary["form"] ?? "")" == name)
    #expect((summary["unread"] as? [String])?.contains("gradient.lstm.bias") == true)
    let written = try SafetensorsFile(path: folder.file("run/checkpoints/last/model.safetensors"))
    let expected = fixture.names.filter { $0.hasPrefix("parameter.") }
    #expect(Set(written.names.map { "parameter.\($0)" }) == Set(expected))
    for name in written.names {
      #expect(try floats(written, name) == floats(fixture, "parameter.\(name)"), "\(name)")
    }
    let score = try start([
      program("milm"), "evaluate", folder.file("run"), "--text", folder.file("text.txt"), "--json",
    ])
    try #require(score.status == 0, "\(score.transcript)")
    #expect(try object(score)["unknownTokens"] as? Int == 1)
    let text = try start([program("milm"), "generate", folder.file("run"), "--tokens", "5"])
    #expect(text.status == 0, "\(text.transcript)")
  }

  /// Writes the LSTM's fixture with the names, the transposes and the two biases of PyTorch's modules.
  private func writePyTorchState() throws -> SafetensorsFile {
    let fixture = try fixture("lstm-full")
    func parameter(_ name: String) throws -> (shape: [Int], values: [Float]) {
      (try fixture.shape(of: "parameter.\(name)"), try floats(fixture, "parameter.\(name)"))
    }
    let v = try parameter("decoder.V")
    let (height, width) = (v.shape[0], v.shape[1])
    let bias = try parameter("lstm.bias")
    let tensors: [(String, [Int], [Float])] = [
      ("encoder.weight", try parameter("embedding.weight").shape, try parameter("embedding.weight").values),
      ("out.bias", try parameter("softmax.bias").shape, try parameter("softmax.bias").values),
      ("rnn.weight_ih_l0", try parameter("lstm.weight_ih").shape, try parameter("lstm.weight_ih").values),
      ("rnn.weight_hh_l0", try parameter("lstm.weight_hh").shape, try parameter("lstm.weight_hh").values),
      ("rnn.bias_ih_l0", bias.shape, bias.values.map { $0 / 4 }),
      ("rnn.bias_hh_l0", bias.shape, bias.values.map { $0 * 3 / 4 }),
      (
        "projection.weight", [width, height],
        (0..<v.values.count).map { v.values[$0 % height * width + $0 / height] }
      ),
      ("projection.bias", try parameter("decoder.b").shape, try parameter("decoder.b").values),
    ]
    let path = folder.file("state.safetensors")
    try withExtendedLifetime(tensors) {
      let copies = tensors.map { UnsafeMutableBufferPointer<Float>.allocate(capacity: $0.2.count) }
      defer { for copy in copies { copy.deallocate() } }
      for (copy, tensor) in zip(copies, tensors) { _ = copy.initialize(from: tensor.2) }
      try writeSafetensors(
        zip(copies, tensors).map {
          TensorBytes(name: $1.0, shape: $1.1, floats: UnsafeBufferPointer($0))
        }, to: path)
    }
    return fixture
  }

  private static let map = [
    "embedding.weight=encoder.weight", "softmax.bias=out.bias", "lstm.weight_ih=rnn.weight_ih_l0",
    "lstm.weight_hh=rnn.weight_hh_l0", "lstm.bias=rnn.bias_ih_l0+rnn.bias_hh_l0",
    "decoder.V=projection.weight.T", "decoder.b=projection.bias",
  ]

  @Test func otherNamesTransposesAndSumsAreMapped() throws {
    let fixture = try writePyTorchState()
    let options = Self.map.flatMap { ["--map", $0] }
    let imported = try start(
      [
        program("milm"), "import", folder.file("state.safetensors"), "--vocabulary", words, "--output",
        folder.file("run"),
      ] + options)
    try #require(imported.status == 0, "\(imported.transcript)")
    #expect(!imported.output.contains("not read"))
    let written = try SafetensorsFile(path: folder.file("run/checkpoints/last/model.safetensors"))
    for name in written.names {
      let expected = try floats(fixture, "parameter.\(name)")
      for (found, wanted) in zip(try floats(written, name), expected) {
        #expect(abs(found - wanted) <= 1e-6, "\(name)")
      }
    }
  }

  @Test func whatDoesNotFitIsNamedAndLeavesNothing() throws {
    _ = try writePyTorchState()
    let state = folder.file("state.safetensors")
    let few = try folder.write("<unk>\n<eos>\nw\n", to: "few.txt").path
    let fixture = try fixture("lstm-full").path
    let cases: [(arguments: [String], message: String)] = [
      (
        [state, "--vocabulary", words], "expected a tensor embedding.weight, found none of this name among 8"
      ),
      ([fixture, "--vocabulary", few], "a row for each of the 3 words, found shape [23, 6]"),
      ([fixture, "--vocabulary", words, "--map", "lstm.bias"], "expected NAME=SOURCE, found lstm.bias"),
      ([fixture, "--vocabulary", words, "--map", "lstm.bias=b"], "expected a tensor b, found none"),
      ([fixture, "--vocabulary", words, "--map", "bias=zeros"], "expected a tensor of the model"),
      (
        [fixture, "--vocabulary", words, "--map", "decoder.V=parameter.decoder.b"],
        "expected parameter.decoder.b of shape [8, 6] for decoder.V, found [6]"
      ),
      ([fixture, "--vocabulary", words, "--map", "decoder.V=identity"], "expected a square matrix"),
      ([words, "--vocabulary", words], "expected a header of at most"),
    ]
    for (arguments, message) in cases {
      let run = try start([program("milm"), "import", "--output", folder.file("run")] + arguments)
      #expect(run.status == 1 && run.transcript.contains(message), "\(run.transcript)")
      #expect(!FileManager.default.fileExists(atPath: folder.file("run")))
    }
    #expect(try importing(fixture).status == 0)
    let again = try importing(fixture)
    #expect(again.status == 1 && again.transcript.contains("already holds a run"), "\(again.transcript)")
    let zeros = try start([
      program("milm"), "import", fixture, "--vocabulary", folder.file("run"), "--output",
      folder.file("other"), "--map", "softmax.bias=zeros",
    ])
    #expect(zeros.status == 0, "\(zeros.transcript)")
  }
}
