import ArgumentParser
import Training

/// `--set` of every command that reads a configuration.
struct ConfigurationSettings: ParsableArguments {
  @Option(name: .customLong("set"), help: "Set a key of the configuration: key.path=value. May be repeated.")
  var settings: [String] = []

  func validate() throws {
    do { try RunConfiguration.check(settings: settings) } catch { throw WrongUsage(description: "\(error)") }
  }
}

/// The value of an option or argument that names a file or folder.
func pathArgument(_ text: String) throws -> String {
  guard !text.isEmpty else { throw ValidationError("expected a path, found an empty text") }
  return text
}
