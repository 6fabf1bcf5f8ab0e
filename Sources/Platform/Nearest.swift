/// The candidates with the fewest insertions, deletions and replacements from a text, and how many these are.
package func nearest(to text: String, among candidates: [String]) -> (names: [String], distance: Int) {
  let distances = candidates.map { editDistance($0, text) }
  let least = distances.min() ?? 0
  return (zip(candidates, distances).filter { $0.1 == least }.map(\.0), least)
}

/// The number of insertions, deletions and replacements between two texts (Levenshtein 1966).
private func editDistance(_ a: String, _ b: String) -> Int {
  let b = Array(b)
  var row = Array(0...b.count)
  for (index, character) in a.enumerated() {
    var diagonal = row[0]
    row[0] = index + 1
    for column in 1..<max(b.count + 1, 1) {
      let replaced = diagonal + (b[column - 1] == character ? 0 : 1)
      diagonal = row[column]
      row[column] = min(replaced, row[column] + 1, row[column - 1] + 1)
    }
  }
  return row[b.count]
}

/// Names as a sentence lists them: `a`, `a or b`, `a, b or c`.
package func alternatives(_ names: [String], _ conjunction: String = "or") -> String {
  guard names.count > 1 else { return names.first ?? "" }
  return "\(names.dropLast().joined(separator: ", ")) \(conjunction) \(names[names.count - 1])"
}
