/// The first position at which two sequences differ and their elements there, nil if they are equal.
///
/// For expectations on long sequences: if `left == right` fails, the test library computes all differences, in
/// quadratic time.
package func firstDifference<Element: Equatable>(
  _ left: some Collection<Element>, _ right: some Collection<Element>
) -> String? {
  for (index, pair) in zip(left, right).enumerated() where pair.0 != pair.1 {
    return "element \(index): \(pair.0) and \(pair.1)"
  }
  return left.count == right.count ? nil : "counts: \(left.count) and \(right.count)"
}
