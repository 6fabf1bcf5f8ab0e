import ArgumentParser
import Foundation
import Platform
import Training

/// What a shell offers for the values of milm's options.
extension CompletionKind {
  /// Runs, and the directories on the way to them.
  static let runs = directories([.run, .sweep])
  /// Corpora, and the directories on the way to them.
  static let corpora = directories([.corpus])
  /// Runs and checkpoints.
  static let checkpoints = directories([.run, .checkpoint])
  /// `never`, `auto` or a checkpoint.
  static let resumption = directories([.run, .checkpoint], words: ["never", "auto"])
  /// Keys of the configuration.
  static let keys = CompletionKind.list(ConfigurationKey.all.map(\.path))
  /// `KEY=`, and after it the values that can be listed.
  static let settings = CompletionKind.custom { words, index, prefix in
    settingCompletions(of: typed(words, index, prefix))
  }

  /// Directories that contain what one of `kinds` has; where there is none, all directories.
  private static func directories(_ kinds: [DirectoryKind], words own: [String] = []) -> CompletionKind {
    .custom { words, index, prefix in
      let text = typed(words, index, prefix)
      return own.filter { $0.hasPrefix(text) } + directoryCompletions(of: text, kinds)
    }
  }

  /// The word before the cursor.
  private static func typed(_ words: [String], _ index: Int, _ prefix: String) -> String {
    prefix.isEmpty && words.indices.contains(index) ? words[index] : prefix
  }

  private static func directoryCompletions(of text: String, _ kinds: [DirectoryKind]) -> [String] {
    let slash = text.lastIndex(of: "/").map { text.index(after: $0) } ?? text.startIndex
    let (parent, start) = (String(text[..<slash]), text[slash...])
    let names = (try? directoryEntries(parent.isEmpty ? "." : parent)) ?? []
    let found = names.filter {
      $0.hasPrefix(start) && (!$0.hasPrefix(".") || start.hasPrefix(".")) && isDirectory(parent + $0)
    }.map { parent + $0 }
    let wanted = found.filter { path in kinds.contains { $0.matches(path) } }
    // A directory that is none of them may contain one.
    return wanted.isEmpty ? found : wanted
  }

  private static func settingCompletions(of text: String) -> [String] {
    guard let equals = text.firstIndex(of: "=") else {
      return ConfigurationKey.all.map { "\($0.path)=" }.filter { $0.hasPrefix(text) }
    }
    let key = ConfigurationKey.all.first { $0.path == text[..<equals] }
    return (key?.choices ?? []).map { "\(text[...equals])\($0)" }.filter { $0.hasPrefix(text) }
  }
}

/// What follows milm's completion script for bash, which splits words at `=`: joins `--set KEY=VALUE`, and names of runs such
/// as `variant=lstm`, before milm's function sees them.
let bashWordJoining = #"""

  _milm_joining_words() {
      local -a words=()
      local -i index current=0
      for index in "${!COMP_WORDS[@]}"; do
          if [[ ${#words[@]} -gt 1 && "${words[-1]}" != -* ]] &&
              [[ "${COMP_WORDS[index]}" = = && "${words[-1]}" != = ||
                  "${COMP_WORDS[index - 1]}" = = && "${words[-1]}" = ?*= ]]; then
              words[-1]+="${COMP_WORDS[index]}"
          else
              words+=("${COMP_WORDS[index]}")
          fi
          [[ "${index}" -eq "${COMP_CWORD}" ]] && current=$((${#words[@]} - 1))
      done
      local -a COMP_WORDS=("${words[@]}")
      local -i COMP_CWORD=current
      local typed="${words[current]}" previous=''
      [[ "${current}" -gt 0 ]] && previous="${words[current - 1]}"
      _milm "${1}" "${typed}" "${previous}"
      if [[ "${previous}" = --set ]]; then
          compopt +o filenames 2>/dev/null
          [[ "${typed}" = *=* ]] || compopt -o nospace 2>/dev/null
      fi
      # Bash replaces only what follows the last `=`.
      [[ "${typed}" != *=* ]] || COMPREPLY=("${COMPREPLY[@]#"${typed%=*}="}")
  }
  complete -o filenames -F _milm_joining_words milm
  """#
