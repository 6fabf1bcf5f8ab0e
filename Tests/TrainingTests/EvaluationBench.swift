import Communication
import Foundation
import Synchronization
import Training

extension TrainingBench {
  /// Evaluates a run on ranks that are threads of this process; returns the result of rank 0.
  func evaluate(
    _ output: String, _ method: ScoringMethod = ScoringMethod(),
    text: EvaluationRun.Text = .split(.test), tokenLossPath: String? = nil, rankCount: Int = 1
  ) throws -> EvaluationSummary {
    let control = LocalCommunicator.world(rankCount: rankCount, ranksPerNode: rankCount)
    let gradients = LocalCommunicator.world(rankCount: rankCount, ranksPerNode: rankCount)
    let results = Mutex<[Int: Result<EvaluationSummary?, any Error>]>([:])
    let group = DispatchGroup()
    for rank in 0..<rankCount {
      group.enter()
      let ranks = Ranks(control: control[rank], gradients: gradients[rank], snapshots: gradients[rank])
      let (path, corpus) = (folder.file(output), corpus)
      Thread {
        let result = Result {
          try EvaluationRun(
            path: path, corpus: corpus, text: text, method: method, tokenLossPath: tokenLossPath, ranks: ranks
          ).evaluate()
        }
        if case .failure(let error) = result { control[rank].abort("\(error)") }
        results.withLock { $0[rank] = result }
        group.leave()
      }.start()
    }
    group.wait()
    let all = results.withLock { $0 }
    for rank in 1..<max(rankCount, 1) {
      if case .success(.some) = all[rank] { throw TrainingError("rank \(rank) gave a summary") }
    }
    guard let summary = try all[0]?.get() else { throw TrainingError("rank 0 gave nothing") }
    return summary
  }
}
