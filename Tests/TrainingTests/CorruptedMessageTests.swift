import Communication
import Foundation
import Platform
import TestSupport
import Testing
import Training

/// One flipped bit of any message of a run ends it: nothing corrupted is computed with, or certified by a checkpoint.
@Suite(.timeLimit(.minutes(5))) struct CorruptedMessageTests {
  @Test(arguments: [
    ["exchange.vocabulary=sharded", "exchange.codec=int8"],
    ["exchange.vocabulary=replicated", "exchange.codec=auto"],
  ])
  func everyMessageOfARunIsChecked(settings: [String]) throws {
    let bench = try TrainingBench(tokenCount: 3000, validTokenCount: 70, wordCount: 600)
    let configuration = try bench.configuration(settings: settings + ["training.steps=8"])
    func train(_ output: String, _ resume: TrainingRequest.Resume, _ corruption: Corruption) throws {
      try bench.train(
        configuration, output: output, rankCount: 2, resume: resume, lastStep: resume == .never ? 7 : nil,
        reception: corruption.fault)
    }
    let (first, second) = (Corruption(), Corruption())
    try train("whole", .never, first)
    try bench.copy("whole", to: "resumed")
    try train("resumed", .auto, second)
    let later = Set(second.kinds).subtracting(first.kinds)
    let cases = first.kinds.map { ($0, false) } + second.kinds.filter(later.contains).map { ($0, true) }
    for (number, (kind, isResumed)) in cases.enumerated() {
      let output = "corrupted-\(number)"
      if isResumed { try bench.copy("whole", to: output) }
      let corruption = Corruption(kind)
      let result = Result { try train(output, isResumed ? .auto : .never, corruption) }
      guard let operation = corruption.corrupted?.operation else {
        // `auto` decides by measurement: what one run sends, another need not send.
        #expect(configuration.exchange.codec == nil, "\(kind) was not sent")
        continue
      }
      guard case .failure(let error as MilmError) = result else {
        Issue.record("\(kind): expected an error of the receiver, found \(result)")
        continue
      }
      let text = error.description
      #expect(text.contains("checksum") && text.contains(" at \(operation)"), "\(kind): \(text)")
      print(kind, text)
    }
  }
}

extension TrainingBench {
  fileprivate func copy(_ output: String, to other: String) throws {
    try FileManager.default.copyItem(atPath: folder.file(output), toPath: folder.file(other))
  }
}
