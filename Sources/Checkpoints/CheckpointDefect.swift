import Foundation
import Platform

/// A defect of a checkpoint, found by verification.
package enum CheckpointDefect: Sendable {
  /// A file of it is not there.
  case missing
  /// The system could not read it, as with an I/O error, missing permission or too many open files: it may be good.
  case unreadable
  /// It was read and found wrong, or has a link in place of a file.
  case damaged

  /// The outcome that an error of reading or verifying means.
  package init(_ error: MilmError) {
    self =
      switch error.code {
      case nil, ELOOP: .damaged
      case ENOENT, ENOTDIR: .missing
      default: .unreadable
      }
  }
}

/// A checkpoint that was passed over, and why.
package struct CheckpointRefusal: Sendable, CustomStringConvertible {
  package let step: Int
  package let defect: CheckpointDefect
  /// One line.
  package let description: String

  /// Throws where the checkpoint could not be read: it may be good, so the caller must not continue without it.
  init(_ location: CheckpointLocation, _ error: MilmError) throws {
    step = location.step
    defect = CheckpointDefect(error)
    description = error.description
    guard defect != .unreadable else {
      throw MilmError(
        "\(error.description): \(location.path) may be good, so nothing is changed; expected a checkpoint that can be "
          + "read, or --resume with another one")
    }
  }
}
