import Foundation

/// A network interface of a host.
package struct NetworkInterface: Sendable, Equatable {
  /// Its name, as in `eth0`.
  package let name: String
  /// Its IPv4 addresses.
  package let addresses: [UInt32]

  /// An interface of these addresses.
  package init(name: String, addresses: [UInt32]) {
    self.name = name
    self.addresses = addresses
  }

  /// Whether Open MPI's TCP may use it, where these are its lists of interfaces or networks, as in `10.0.0.0/24`; one that
  /// is not empty is what it keeps to, else it leaves the other out.
  package func serves(including included: [String], excluding excluded: [String]) -> Bool {
    guard !addresses.isEmpty else { return false }
    return included.isEmpty ? !excluded.contains(where: isMeant) : included.contains(where: isMeant)
  }

  private func isMeant(by entry: String) -> Bool {
    let parts = entry.split(separator: "/")
    guard parts.count == 2, let network = Self.number(String(parts[0])), let length = Int(parts[1]),
      (0...32).contains(length)
    else { return entry == name }
    let mask = length == 0 ? 0 : UInt32.max << UInt32(32 - length)
    return addresses.contains { $0 & mask == network & mask }
  }

  /// An address as in `10.0.0.1`; nil for any other text.
  private static func number(_ address: String) -> UInt32? {
    var value = in_addr()
    return inet_pton(AF_INET, address, &value) == 1 ? UInt32(bigEndian: value.s_addr) : nil
  }

  /// Those of this host that are up, the loopback included, by name.
  static var ofThisHost: [NetworkInterface] {
    var first: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&first) == 0 else { return [] }
    defer { freeifaddrs(first) }
    var addresses: [String: [UInt32]] = [:]
    var next = first
    while let entry = next?.pointee {
      next = entry.ifa_next
      guard entry.ifa_flags & UInt32(IFF_UP) != 0 else { continue }
      addresses[String(cString: entry.ifa_name), default: []] += number(entry.ifa_addr).map { [$0] } ?? []
    }
    return addresses.keys.sorted().map { NetworkInterface(name: $0, addresses: addresses[$0] ?? []) }
  }

  /// An IPv4 address; nil for one of another kind.
  private static func number(_ address: UnsafeMutablePointer<sockaddr>?) -> UInt32? {
    guard let address, Int32(address.pointee.sa_family) == AF_INET else { return nil }
    let internet = UnsafeRawPointer(address).loadUnaligned(as: sockaddr_in.self)
    return UInt32(bigEndian: internet.sin_addr.s_addr)
  }
}
