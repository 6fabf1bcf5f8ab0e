/// What rounding has lost and later steps make up for, in two versions: that of the last committed step,
/// and that of the step under way.
///
/// The sender's is in units of this rank's gradient, the owner's in units of the mean gradient.
struct Residuals {
  /// One element for each of the flat gradient; zero in the parts this rank owns.
  private(set) var sender: (committed: FloatBuffer, next: FloatBuffer)
  /// One element for each that this rank owns, in the order of buckets.
  private(set) var owner: (committed: FloatBuffer, next: FloatBuffer)
  /// Whether all ranks' committed residuals are zero.
  var areZero = true

  init(elementCount: Int, ownCount: Int) {
    sender = (FloatBuffer(count: elementCount), FloatBuffer(count: elementCount))
    owner = (FloatBuffer(count: ownCount), FloatBuffer(count: ownCount))
  }

  /// Makes the step under way the last one.
  mutating func commit(areZero: Bool) {
    swap(&sender.committed, &sender.next)
    swap(&owner.committed, &owner.next)
    self.areZero = areZero
  }
}
