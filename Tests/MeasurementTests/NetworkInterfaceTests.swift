import Measurement
import Testing

/// Which interfaces Open MPI's TCP may use, by its two lists.
struct NetworkInterfaceTests {
  private let ethernet = NetworkInterface(name: "eth0", addresses: [0x0A00_0105])  // 10.0.1.5
  private let loopback = NetworkInterface(name: "lo", addresses: [0x7F00_0001])

  @Test func allButThoseLeftOutServe() {
    #expect(ethernet.serves(including: [], excluding: ["127.0.0.1/8", "sppp"]))
    #expect(!loopback.serves(including: [], excluding: ["127.0.0.1/8", "sppp"]))
    #expect(!loopback.serves(including: [], excluding: ["lo"]))
    #expect(loopback.serves(including: [], excluding: []))
  }

  @Test func onlyThoseChosenServe() {
    #expect(ethernet.serves(including: ["eth0"], excluding: []))
    #expect(!ethernet.serves(including: ["eth1", "10.0.2.0/24"], excluding: []))
    #expect(ethernet.serves(including: ["eth1", "10.0.2.0/22"], excluding: []))
    #expect(ethernet.serves(including: ["0.0.0.0/0"], excluding: []))
  }

  @Test(arguments: ["10.0.1.5", "10.0.1.5/33", "10.0.1/24", "/", "", "eth"])
  func whatIsNeitherANameNorANetworkMeansNothing(entry: String) {
    #expect(!ethernet.serves(including: [entry], excluding: []))
    #expect(ethernet.serves(including: [], excluding: [entry]))
  }

  @Test func anInterfaceWithoutAnAddressNeverServes() {
    let unplugged = NetworkInterface(name: "eth1", addresses: [])
    #expect(!unplugged.serves(including: ["eth1"], excluding: []))
    #expect(!unplugged.serves(including: [], excluding: []))
  }
}
