import Foundation

/// Decompresses a file as it is read.
protocol StreamDecoder: AnyObject {
  /// Fills `buffer` from its start and returns how many bytes it got; 0 only at the end.
  ///
  /// - Parameter next: fills a buffer with the file's own bytes in the same way.
  func read(
    into buffer: UnsafeMutableRawBufferPointer,
    from next: (UnsafeMutableRawBufferPointer) throws -> Int
  ) throws -> Int
}

/// How a text file is stored, by the end of its name.
enum Compression: String {
  case zstd = "zst"
  case gzip = "gz"
  case zip

  init?(_ file: URL) { self.init(rawValue: file.pathExtension.lowercased()) }
}
