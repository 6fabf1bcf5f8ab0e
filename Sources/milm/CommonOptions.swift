import ArgumentParser
import Corpus
import Platform
import Training

/// `--set` of every command that reads a configuration.
struct ConfigurationSettings: ParsableArguments {
  @Option(
    name: .customLong("set"),
    help: .init("Set a key of the configuration: key.path=value. May be repeated.", valueName: "KEY=VALUE"),
    completion: .settings)
  var settings: [String] = []

  func validate() throws {
    do { try RunConfiguration.check(settings: settings) } catch { throw WrongUsage(description: "\(error)") }
  }
}

/// `--vocabulary-size` of every command that has a model without a corpus.
struct AssumedVocabulary: ParsableArguments {
  @Option(
    help: .init("Vocabulary size where no corpus is given (default: WikiText-103's, 267735).", valueName: "N")
  )
  var vocabularySize: Int?

  func validate() throws {
    if let vocabularySize, !(2...1 << 31).contains(vocabularySize) {
      throw ValidationError("--vocabulary-size: expected 2 to \(1 << 31), found \(vocabularySize)")
    }
  }

  var size: Int { vocabularySize ?? WikiText103.vocabularySize }

  /// The assumption behind the size where neither corpus nor option states it.
  func assumptions(corpus: String?) -> [String] {
    guard corpus == nil, vocabularySize == nil else { return [] }
    return ["assumes WikiText-103's vocabulary of \(size) tokens; --vocabulary-size sets another"]
  }
}

/// Throws where there is nothing at the path of a `--vocabulary`.
func requireVocabulary(at path: String) throws {
  guard case .absent = try FileEntry(at: path, followingLinks: true) else { return }
  throw MilmError(
    path, "expected a corpus, a run or a vocabulary.txt, found nothing; milm prepare builds a corpus")
}

/// The value of an option or argument that names a file or directory.
func pathArgument(_ text: String) throws -> String {
  guard !text.isEmpty else { throw ValidationError("expected a path, found an empty text") }
  return text
}
