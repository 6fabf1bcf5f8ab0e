/// Where two sequences differ first and what stands there, or nil if they are equal.
///
/// For expectations on long ones: where `left == right` fails, the test library takes minutes to
/// compute all differences, in a time that grows with the square of their number.
public func firstDifference<Element: Equatable>(
  _ left: some Collection<Element>, _ right: some Collection<Element>
) -> String? {
  for (index, pair) in zip(left, right).enumerated() where pair.0 != pair.1 {
    return "element \(index): \(pair.0) and \(pair.1)"
  }
  return left.count == right.count ? nil : "counts: \(left.count) and \(right.count)"
}
