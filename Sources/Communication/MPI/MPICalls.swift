import CMPI
import Platform
import Synchronization

/// The one road to MPI: one call at a time, from whatever thread, and errors as Swift errors.
///
/// MPI is started with `MPI_THREAD_SERIALIZED`, which leaves the "one at a time" to us. No call made here
/// waits for other ranks, except those of start and end; so the lock is never held for long.
final class MPICalls: Sendable {
  private let lock = Mutex<Void>(())

  /// Makes one call and throws its error in MPI's own words.
  func call(_ name: StaticString, _ function: () -> CInt) throws(MilmError) {
    let code = status(of: function)
    guard code == MPI_SUCCESS else { throw MilmError("\(name): \(text(of: code))") }
  }

  /// Makes one call whose error code means more than failure.
  func status(of function: () -> CInt) -> CInt {
    lock.withLock { _ in function() }
  }

  /// The standard's error class of an implementation's error code.
  func errorClass(of code: CInt) -> CInt {
    var errorClass: CInt = 0
    return status { MPI_Error_class(code, &errorClass) } == MPI_SUCCESS ? errorClass : code
  }

  /// MPI's own words for an error code.
  func text(of code: CInt) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(MPI_MAX_ERROR_STRING) + 1) { buffer in
      var length: CInt = 0
      buffer.initialize(repeating: 0)
      let status = status { MPI_Error_string(code, buffer.baseAddress, &length) }
      guard status == MPI_SUCCESS else { return "error code \(code)" }
      return String(decoding: buffer.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
  }
}
