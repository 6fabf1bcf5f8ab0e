import Foundation
import TestSupport
import Testing

/// `milm study` as a user runs it.
@Suite(.serialized, .timeLimit(.minutes(10))) struct StudyCommandTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test(arguments: ["expressivity", "multitask", "neural-process"])
  func oneTwoAndThreeRanksWriteTheSameBytes(study: String) throws {
    for rankCount in 1...3 {
      let command = studyCommand(study, output: folder.file("\(rankCount)"))
      let run = try mpirun(rankCount, command, timeoutSeconds: 200)
      try #require(run.status == 0, "\(run.transcript)")
      #expect(run.output.contains("processor time"))
    }
    let alone = try studyFiles(folder.file("1"))
    for name in ["config.json", "results.json"] { #expect(alone[name] != nil) }
    #expect(alone.keys.contains { $0.hasSuffix(".csv") } && alone.keys.contains { $0.hasSuffix(".svg") })
    #expect(alone.keys.count { $0.hasPrefix("settings/") } > 2)
    for rankCount in 2...3 {
      let files = try studyFiles(folder.file("\(rankCount)"))
      #expect(Set(files.keys) == Set(alone.keys))
      for (name, content) in alone {
        #expect(files[name] == content, "\(name) on \(rankCount) ranks")
      }
    }
  }

  @Test(arguments: [SIGTERM, SIGKILL])
  func aStudyResumesAfterASignal(signal: Int32) throws {
    let slow = ["steps=1500", "evaluateEvery=500"]
    let command = studyCommand("multitask", output: folder.file("ended"), slow)
    let program = try RunningProgram(command)
    let limit = Date(timeIntervalSinceNow: 100)
    while Date() < limit, (try? folder.entries("ended/settings").count) ?? 0 < 3 { usleep(2000) }
    kill(program.processID, signal)
    let ended = program.wait()
    #expect(ended.status == (signal == SIGTERM ? 75 : SIGKILL), "\(ended.transcript)")
    #expect(try folder.entries("ended/settings").count < 24)
    let again = try start(command + ["--json"])
    try #require(again.status == 0, "\(again.transcript)")
    let whole = try start(studyCommand("multitask", output: folder.file("whole"), slow) + ["--json"])
    #expect(again.output == whole.output)
    // SIGKILL may leave a temporary file of a write behind.
    let files = try studyFiles(folder.file("ended"))
    for (name, content) in try studyFiles(folder.file("whole")) {
      #expect(files[name] == content, "\(name)")
    }
  }

  @Test func anInvalidSettingIsOneLineOfError() throws {
    let run = try mpirun(2, studyCommand("multitask", output: folder.file("none"), ["nonsense=1"]))
    #expect(run.status == 64)
    #expect(run.errors.components(separatedBy: "--set nonsense=1: expected key=value").count == 2)
    let refused = try start([program("milm"), "study", "multitask", "--seeds", "0"])
    #expect(refused.status == 64)
  }

  @Test(arguments: ["expressivity", "multitask", "neural-process"])
  func figuresAreWellFormed(study: String) throws {
    let run = try start(studyCommand(study, output: folder.file("figures")))
    try #require(run.status == 0, "\(run.transcript)")
    let figures = try studyFiles(folder.file("figures")).filter { $0.key.hasSuffix(".svg") }
    #expect(!figures.isEmpty)
    for (name, content) in figures {
      let text = String(decoding: content, as: UTF8.self)
      #expect(!text.contains("nan") && !text.contains("inf"), "\(name)")
      // Elements are properly nested.
      var open: [Substring] = []
      for tag in text.matches(of: /<(\/?)([A-Za-z]+)[^>]*?(\/?)>/) {
        if tag.1 == "/" {
          let last = open.popLast()
          #expect(last == tag.2, "\(name)")
        } else if tag.3.isEmpty {
          open.append(tag.2)
        }
      }
      #expect(open.isEmpty, "\(name)")
      #expect(text.contains("<circle") || text.contains("stroke-linejoin"), "\(name)")
    }
  }
}
