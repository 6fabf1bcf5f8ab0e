import Foundation
import Platform

/// Measures how fast a corpus is built from a text, from reading to forcing files to disk.
package struct BuildBenchmark: Sendable {
  /// The measurements of one or several builds.
  package struct Result: Codable, Sendable {
    /// Bytes of the text, as stored.
    package let bytes: Int
    /// Tokens of the text, one `<eos>` for every line.
    package let tokens: Int
    /// Size of the vocabulary.
    package let vocabulary: Int
    package let threads: Int
    /// Seconds of each build.
    package let seconds: [Double]
    /// Millions of bytes of the text per second in the fastest build.
    package let megabytesPerSecond: Double
    /// Peak memory of this process in megabytes.
    package let peakMegabytes: Double
  }

  private let text: URL
  private let options: CorpusBuilder.Options
  private let directory: URL

  /// - Parameter directory: where corpora are built and removed.
  package init(text: URL, options: CorpusBuilder.Options, directory: URL) {
    self.text = text
    self.options = options
    self.directory = directory
  }

  /// Builds the corpus several times; `progress` is called after each.
  package func run(roundCount: Int, progress: (Int) -> Void = { _ in }) throws -> Result {
    let byteCount = try TextSource.file(text).storedByteCount()
    let output = directory.appendingPathComponent("corpus")
    var seconds: [Double] = []
    var description: CorpusDescription?
    for round in 1...roundCount {
      let start = ContinuousClock.now
      description = try CorpusBuilder(train: [text], options: options).build(at: output)
      seconds.append((ContinuousClock.now - start).inSeconds)
      try FileManager.default.removeItem(at: output)
      progress(round)
    }
    return Result(
      bytes: byteCount, tokens: description?.counts(of: .train)?.tokens ?? 0,
      vocabulary: description?.vocabularySize ?? 0, threads: options.threadCount, seconds: seconds,
      megabytesPerSecond: Double(byteCount) / 1e6 / (seconds.min() ?? .infinity),
      peakMegabytes: Double(Host.peakByteCount) / 1e6)
  }

  /// Writes a text of `wordCount` distinct words, each occurring twice, in scrambled order.
  package static func writeText(wordCount: Int, to file: URL) throws {
    let writer = try AtomicFile(file.path)
    var bytes = ByteBuffer(capacity: 1 << 20)
    // Multiples of a prime larger than any count visit all numbers.
    for stride in [2_147_483_647, 4_294_967_291] {
      for position in 0..<wordCount {
        let word = String(position * stride % wordCount, radix: 36)
        bytes.append("w\(word)")
        bytes.append(UInt8(ascii: position % 25 == 24 ? "\n" : " "))
        if bytes.count > 1 << 19 {
          try writer.append(bytes.bytes)
          bytes.truncate(to: 0)
        }
      }
    }
    try writer.append(bytes.bytes)
    try writer.finish()
  }
}

extension ByteBuffer {
  fileprivate mutating func append(_ text: String) {
    var text = text
    text.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }
}
