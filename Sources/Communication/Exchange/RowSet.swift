import CKernels

/// Distinct rows of a matrix, by rising number; it does not own its memory.
struct RowSet {
  private(set) var ids = UnsafeBufferPointer<Int32>(start: nil, count: 0)
  private(set) var rows: UnsafePointer<Float>?

  init() {}

  init(ids: UnsafeBufferPointer<Int32>, rows: UnsafePointer<Float>) {
    self.ids = ids
    self.rows = rows
  }

  /// A set as `write` has laid it out for `capacity` rows.
  init(at memory: UnsafeRawPointer, width: Int, capacity: Int) {
    let count = Int(memory.load(as: Int32.self))
    precondition(count <= capacity, "at most \(capacity) rows, not \(count)")
    ids = UnsafeBufferPointer(start: Self.ids(in: memory), count: count)
    rows = Self.rows(in: memory, capacity: capacity)
  }

  /// What a set of so many rows takes.
  static func byteCount(rowCount: Int, width: Int) -> Int {
    headerByteCount + identifierByteCount(rowCount) + 4 * rowCount * width
  }

  /// Lays the set out in memory for `capacity` rows: their number, their numbers, the rows.
  func write(to memory: UnsafeMutableRawPointer, width: Int, capacity: Int) {
    memory.storeBytes(of: Int32(ids.count), as: Int32.self)
    guard let rows, let identifiers = ids.baseAddress else { return }
    UnsafeMutablePointer(mutating: Self.ids(in: memory)).update(from: identifiers, count: ids.count)
    UnsafeMutablePointer(mutating: Self.rows(in: memory, capacity: capacity))
      .update(from: rows, count: ids.count * width)
  }

  /// Lays out the union of `sets` in memory for `capacity` rows; rows of one number are added in their order.
  static func merging(
    _ sets: [RowSet], width: Int, into memory: UnsafeMutableRawPointer, capacity: Int
  ) -> RowSet {
    let ids = UnsafeMutablePointer(mutating: Self.ids(in: memory))
    let rows = UnsafeMutablePointer(mutating: Self.rows(in: memory, capacity: capacity))
    var positions = Array(repeating: 0, count: sets.count)
    var count = 0
    while true {
      var next: Int32?
      for index in sets.indices where positions[index] < sets[index].ids.count {
        next = min(next ?? .max, sets[index].ids[positions[index]])
      }
      guard let id = next else { break }
      precondition(count < capacity, "at most \(capacity) rows a node")
      let target = rows + count * width
      target.update(repeating: 0, count: width)
      for index in sets.indices where positions[index] < sets[index].ids.count {
        guard sets[index].ids[positions[index]] == id, let source = sets[index].rows else { continue }
        CKernels_codecAdd(target, source + positions[index] * width, width)
        positions[index] += 1
      }
      ids[count] = id
      count += 1
    }
    memory.storeBytes(of: Int32(count), as: Int32.self)
    return RowSet(at: memory, width: width, capacity: capacity)
  }

  private static let headerByteCount = 64

  private static func identifierByteCount(_ rowCount: Int) -> Int { (4 * rowCount + 63) & ~63 }

  private static func ids(in memory: UnsafeRawPointer) -> UnsafePointer<Int32> {
    (memory + headerByteCount).assumingMemoryBound(to: Int32.self)
  }

  private static func rows(in memory: UnsafeRawPointer, capacity: Int) -> UnsafePointer<Float> {
    (memory + headerByteCount + identifierByteCount(capacity)).assumingMemoryBound(to: Float.self)
  }
}
