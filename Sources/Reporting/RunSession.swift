import Foundation

/// What a process that trained was, and where in the run it began: a line of `sessions.jsonl`.
public struct RunSession: Codable, Sendable, Equatable {
  /// Why it began there.
  public enum Beginning: String, Codable, Sendable {
    /// The run began.
    case begun
    /// It went on from a checkpoint.
    case resumed
    /// The guard had gone back to an earlier checkpoint.
    case returned
  }

  /// Why it began there.
  public var beginning: Beginning
  /// The steps taken before it.
  public var step: Int
  /// The tokens read before it, by all ranks.
  public var tokens: Int
  /// When it began, in ISO 8601.
  public var time: String
  /// The last step it was to take.
  public var lastStep: Int
  /// The version of the program.
  public var version: String
  /// Ranks of the job.
  public var ranks: Int
  /// Hosts of the job.
  public var hosts: Int
  /// Library, instruction set, precision and threads of rank 0.
  public var engine: String
  /// The processor of rank 0's host.
  public var processor: String
  /// Variant and form of the model.
  public var model: String
  /// Numbers in the model.
  public var parameters: Int
  /// Words it knows.
  public var vocabulary: Int

  /// A process that begins now.
  public init(
    _ beginning: Beginning, step: Int, tokens: Int, lastStep: Int, version: String, ranks: Int, hosts: Int,
    engine: String, model: String, parameters: Int, vocabulary: Int
  ) {
    self.beginning = beginning
    self.step = step
    self.tokens = tokens
    self.lastStep = lastStep
    self.version = version
    self.ranks = ranks
    self.hosts = hosts
    self.engine = engine
    self.model = model
    self.parameters = parameters
    self.vocabulary = vocabulary
    time = Date().formatted(.iso8601)
    processor = Self.processorName
  }

  /// What the kernel calls this machine's processor.
  private static var processorName: String {
    let lines = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.split(separator: "\n") ?? []
    let name = lines.first { $0.hasPrefix("model name") }?.split(separator: ":").last
    return name.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown processor"
  }
}
