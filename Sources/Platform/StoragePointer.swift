/// A small file in place of a large one whose content is stored elsewhere.
package enum StoragePointer: String, CustomStringConvertible {
  case gitLFS = "Git LFS"
  case gitAnnex = "git-annex"

  /// The longest pointer of either program is below this.
  package static let byteCountLimit = 1024

  /// Recognizes a pointer by its whole content, or by its first bytes.
  package init?(_ content: some Collection<UInt8>) {
    guard content.count <= Self.byteCountLimit else { return nil }
    let text = String(decoding: content, as: UTF8.self)
    if text.hasPrefix("version https://git-lfs.github.com/spec/") && text.contains("\noid ") {
      self = .gitLFS
    } else if text.hasPrefix("/annex/objects/") {
      self = .gitAnnex
    } else {
      return nil
    }
  }

  /// Name of the pointer format, and how to fetch the content.
  package var description: String {
    let command = self == .gitLFS ? "git lfs pull" : "git annex get"
    return "a \(rawValue) pointer; fetch the content with: \(command)"
  }
}
