/// Which ranks share a node's memory, and which of them lead a partition of every bucket across nodes.
///
/// A bucket has a partition for each rank of the smallest node, and each partition a chunk for each node.
/// Rank s of a node leads partition s: it alone of its node sends and receives that partition's chunks.
/// With one rank per node every rank leads the only partition.
package struct NodeLayout: Sendable, Equatable {
  /// The ranks of each node, ascending; nodes in the order of their first ranks.
  package let nodes: [[Int]]
  /// Partitions per bucket.
  package let partitionCount: Int
  private let placeOfRank: [(node: Int, local: Int)]

  /// A layout from the node number of each rank; equal numbers mean shared memory.
  package init(nodeOfRank: [Int]) {
    var nodes: [[Int]] = []
    var indexOfNode: [Int: Int] = [:]
    placeOfRank = nodeOfRank.enumerated().map { rank, number in
      let node = indexOfNode[number] ?? nodes.count
      if node == nodes.count {
        indexOfNode[number] = node
        nodes.append([])
      }
      nodes[node].append(rank)
      return (node, nodes[node].count - 1)
    }
    self.nodes = nodes
    partitionCount = nodes.reduce(nodes[0].count) { min($0, $1.count) }
  }

  /// Nodes split into groups of at most `ranksPerNode` ranks; nil leaves them as they are.
  package func limited(to ranksPerNode: Int?) -> NodeLayout {
    guard let ranksPerNode else { return self }
    let most = nodes.reduce(1) { max($0, $1.count) }
    return NodeLayout(nodeOfRank: placeOfRank.map { $0.node * most + $0.local / ranksPerNode })
  }

  /// The layout of a subset of the ranks, renumbered in the order given.
  package func subset(_ ranks: [Int]) -> NodeLayout {
    NodeLayout(nodeOfRank: ranks.map(node(of:)))
  }

  package var rankCount: Int { placeOfRank.count }
  package var nodeCount: Int { nodes.count }
  /// Ranks on the largest node.
  package var largestNodeSize: Int { nodes.reduce(0) { max($0, $1.count) } }
  /// Whether no two ranks share memory.
  package var isFlat: Bool { nodeCount == rankCount }
  package var nodeOfRank: [Int] { placeOfRank.map(\.node) }

  /// Index of a rank's node in `nodes`.
  package func node(of rank: Int) -> Int { placeOfRank[rank].node }
  /// The number of a rank within its node.
  package func localIndex(of rank: Int) -> Int { placeOfRank[rank].local }

  /// The partition a rank leads; nil if there are more ranks on its node than partitions.
  package func partition(of rank: Int) -> Int? {
    let local = localIndex(of: rank)
    return local < partitionCount ? local : nil
  }

  /// The index of the chunk that a rank owns in every bucket; nil if it leads no partition.
  ///
  /// The chunks of one partition are consecutive.
  package func chunkIndex(of rank: Int) -> Int? {
    partition(of: rank).map { $0 * nodeCount + node(of: rank) }
  }

  /// The leaders of a rank's partition, one per node, in the order of nodes; empty for a rank that leads none.
  package func leaders(ofPartitionOf rank: Int) -> [Int] {
    guard let partition = partition(of: rank) else { return [] }
    return nodes.map { $0[partition] }
  }

  /// Names of the ranks' hosts for display, by rank: `names`, numbered where different nodes have the same, as in
  /// "node#2".
  package func displayNames(_ names: [String]) -> [String] {
    let nodesOfName = Dictionary(grouping: nodes.indices) { names[nodes[$0][0]] }
    return names.indices.map { rank in
      let name = names[nodes[node(of: rank)][0]]
      guard let same = nodesOfName[name], same.count > 1, let index = same.firstIndex(of: node(of: rank))
      else {
        return name
      }
      return "\(name)#\(index + 1)"
    }
  }

  /// Whether two layouts place the same ranks on the same nodes.
  package static func == (one: NodeLayout, other: NodeLayout) -> Bool { one.nodes == other.nodes }
}
