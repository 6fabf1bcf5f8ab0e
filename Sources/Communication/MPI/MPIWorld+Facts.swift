import CMPI

extension MPIWorld {
  /// The MPI library's name and version as it gives them itself, up to the first comma.
  public static var libraryVersion: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(MPI_MAX_LIBRARY_VERSION_STRING) + 1) {
      buffer in
      var length: CInt = 0
      buffer.initialize(repeating: 0)
      guard MPI_Get_library_version(buffer.baseAddress, &length) == MPI_SUCCESS else { return "unknown" }
      let text = String(decoding: buffer.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return text.split(separator: ",").first.map(String.init) ?? text
    }
  }
}
