import Communication

/// What a scenario works with: this process as a rank, and its communication thread.
struct Ranks {
  let world: MPIWorld
  let thread: CommunicationThread
  /// How many ranks are taken for one node, whatever the host: the scenario's second argument.
  let ranksPerNode: Int?

  var rank: Int { world.control.rank }
  var rankCount: Int { world.control.rankCount }
}

/// A claim about several ranks; throws where it does not hold.
typealias Scenario = @Sendable (Ranks) throws -> Void

/// All scenarios by name; a new one is a function and a line here.
let scenarios: [String: Scenario] = [
  "all-reduce": allReduceMeansAllSizes,
  "rows": rowsAreAdded,
  "split": splitCommunicatorsExchange,
  "flush": flushSendsExactly,
  "residuals": residualsAreSavedAndRestored,
  "collectives": collectivesAgree,
  "large": largeMemoryTravelsInPieces,
  "quiet-wait": waitingSleeps,
  "alone": runsAlone,
  "wrong-frame": wrongStepIsRefused,
  "crossed-operations": crossedOperationsAreNamed,
  "one-throws": oneRankThrows,
  "all-throw": allRanksThrow,
  "stopped-rank": stoppedRankIsNamed,
  "stopped-in-control": stoppedRankEndsControlOperations,
  "stopped-in-subset": stoppedRankEndsASubset,
  "stopped-in-broadcast": stoppedRankEndsABroadcast,
  "stopped-on-node": stoppedRankEndsItsNode,
  "slow-disk": aRankThatLivesMayBeSlow,
  "long-evaluation": aLongEvaluationIsNoStall,
  "killed-rank": killedRankEndsTheJob,
  "corrupted-messages": corruptedMessagesAreFound,
  "fuzz": mutantsAreRefused,
  "hash-mismatch": differentParametersAreNamed,
]

/// A claim that does not hold.
struct Violation: Error, CustomStringConvertible {
  let description: String
}

/// Throws unless the claim holds.
func claim(_ holds: Bool, _ description: @autoclosure () -> String) throws {
  guard holds else { throw Violation(description: description()) }
}
