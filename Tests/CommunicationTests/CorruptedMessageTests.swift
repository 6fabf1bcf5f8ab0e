import Communication
import Platform
import TestSupport
import Testing

/// One flipped bit of a received message ends the job with a line that names operation and ranks.
@Suite(.timeLimit(.minutes(5))) struct CorruptedMessageTests {
  @Test func everyOperationFindsAFlippedBit() throws {
    for operation in CollectiveOperation.all {
      for kind in operation.kinds {
        let corruption = Corruption(kind)
        let error = #expect(throws: MilmError.self, "\(kind)") {
          try onLocalRanks(3, fault: corruption.fault) { communicator, _ in try operation.run(communicator) }
        }
        let place = try #require(corruption.corrupted, "\(kind)")
        let expected = "message at '\(operation.name)' from rank \(place.sender) (local-\(place.sender)) to "
        #expect(error?.description.contains(expected) == true, "\(kind): \(error as Any)")
        #expect(
          error?.description.contains("to rank \(place.receiver) (local-\(place.receiver)): expected ")
            == true,
          "\(kind): \(error as Any)")
      }
    }
  }

  @Test func messagesOfASubsetAreChecked() throws {
    let corruption = Corruption(.init("epoch", isHeader: true))
    let error = #expect(throws: MilmError.self) {
      try onLocalRanks(4, fault: corruption.fault) { communicator, _ in
        try communicator.split(color: communicator.rank / 2).barrier("epoch")
      }
    }
    #expect(error?.description.contains("message at 'epoch' from rank ") == true, "\(error as Any)")
  }

  @Test func operationsWithoutCorruptionSucceed() throws {
    let corruption = Corruption()
    _ = try onLocalRanks(3, fault: corruption.fault) { communicator, _ in
      for operation in CollectiveOperation.all { try operation.run(communicator) }
    }
    #expect(Set(corruption.kinds) == Set(CollectiveOperation.all.flatMap(\.kinds)))
  }
}
