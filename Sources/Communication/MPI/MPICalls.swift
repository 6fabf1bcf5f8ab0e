import CMPI
import Platform
import Synchronization

/// Serializes calls into MPI from any thread, and turns error codes into Swift errors.
///
/// `MPI_THREAD_SERIALIZED` allows one call at a time. Calls that wait for other ranks are made only where all ranks are
/// known to arrive soon, so the lock is never held for long.
final class MPICalls: Sendable {
  private let lock = Mutex<Void>(())

  /// Makes one call and throws its error with MPI's description.
  func call(_ name: StaticString, _ function: () -> CInt) throws(MilmError) {
    let code = status(of: function)
    guard code == MPI_SUCCESS else { throw MilmError("\(name): \(text(of: code))") }
  }

  /// Makes one call and returns its error code.
  func status(of function: () -> CInt) -> CInt {
    lock.withLock { _ in function() }
  }

  /// The standard's error class of an implementation's error code.
  func errorClass(of code: CInt) -> CInt {
    var errorClass: CInt = 0
    return status { MPI_Error_class(code, &errorClass) } == MPI_SUCCESS ? errorClass : code
  }

  /// MPI's description of an error code.
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
