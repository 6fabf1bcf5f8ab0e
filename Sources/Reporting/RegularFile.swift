import Foundation

/// What stands in a file, nothing where there is none; a link, a device or a pipe, which might never end, is refused.
func regularFileContent(_ path: String) throws -> Data {
  let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC)
  let code = errno
  guard descriptor != -1 else {
    if code == ENOENT { return Data() }
    throw ReportingError(path, cannot: "open", code: code)
  }
  let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
  var status = stat()
  guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
    throw ReportingError(path, "expected a file, found a directory or a device")
  }
  do {
    return try file.readToEnd() ?? Data()
  } catch {
    throw ReportingError(path, "cannot read: \(error.localizedDescription)")
  }
}
