/// Takes raw text apart into words as WikiText does, a line at a time.
///
/// The conventions are those of the Moses tokenizer for English, with WikiText's marks inside words:
///
/// - Words are separated by one space; lines stay lines.
///   Unicode's spaces and control characters separate too.
/// - `-` between letters or digits becomes `@-@`; several in a row are a word,
///   one at a word's edge stays there.
/// - `,` and `.` between digits become `@,@` and `@.@`; any other comma is a word.
/// - A full stop at a word's end is a word, unless the word is an abbreviation.
///   Those of letters and stops (`U.S.`, `a.m.`, `Ph.D.`) always keep it; titles and such (`Mr.`,
///   `vs.`), single letters (`J.`), and any word before one that begins in lower case (`approx. two`)
///   keep it unless the line ends there; `No.` and `pp.` keep it before a digit.
///   Stops inside a word stay (`example.com`), several in a row are a word (`...`).
/// - An apostrophe between letters begins a word (`game 's`, `don 't`, `O 'Brien`), and so does one before
///   `s` after a digit, or before `s t d m ll re ve` at the beginning. Any other is a word.
/// - All other punctuation and symbols are words of one character.
///   Letters, marks and numbers of every script, and invisible format characters, are parts of words.
/// - Typographic quotes become `"` and `'`, Unicode's hyphens `-`.
/// - The words `<unk>`, `<eos>`, `@-@`, `@,@` and `@.@` stay, so text that is tokenized
///   already is hardly changed.
public struct Tokenizer: Sendable {
  /// A tokenizer; it has no settings and no state.
  public init() {}

  /// The words of a text with one space between, line by line.
  public func tokenize(_ text: String) -> String {
    var text = text
    var output = ByteBuffer(capacity: 2 * text.utf8.count)
    text.withUTF8 { tokenize(UnsafeRawBufferPointer($0), into: &output) }
    return String(decoding: output.bytes, as: UTF8.self)
  }

  /// Appends the tokenized form of whole lines of valid UTF-8.
  func tokenize(_ text: UnsafeRawBufferPointer, into output: inout ByteBuffer) {
    var characters: [TextCharacter] = []
    var position = 0
    while position < text.count {
      let character = TextCharacter(at: position, in: text)
      position += character.byteCount
      if character.kind == .lineEnd {
        tokenize(characters, of: text, into: &output)
        output.append(UInt8(ascii: "\n"))
        characters.removeAll(keepingCapacity: true)
      } else {
        characters.append(character)
      }
    }
    tokenize(characters, of: text, into: &output)
  }

  private func tokenize(
    _ characters: [TextCharacter], of text: UnsafeRawBufferPointer, into output: inout ByteBuffer
  ) {
    let line = LineTokenizer(characters: characters, text: text)
    var words = WordWriter()
    var position = 0
    while position < characters.count {
      guard characters[position].kind != .space else {
        position += 1
        continue
      }
      let end = characters[position...].firstIndex { $0.kind == .space } ?? characters.count
      words.beginWord()
      line.split(position..<end, into: &words, output: &output)
      position = end
    }
  }
}

/// Puts one space between the words of a line.
struct WordWriter {
  private var isLineEmpty = true
  private var needsSpace = false
  /// Where the word that is being written begins in the output.
  private(set) var wordStart = 0

  /// Ends the word that is being written, if any.
  mutating func beginWord() { needsSpace = true }

  /// Goes on with the current word, or begins one if it was ended.
  mutating func write(_ bytes: UnsafeRawBufferPointer, to output: inout ByteBuffer) {
    if needsSpace {
      if !isLineEmpty { output.append(UInt8(ascii: " ")) }
      wordStart = output.count
      needsSpace = false
    }
    isLineEmpty = false
    output.append(bytes)
  }

  /// Writes a word of its own.
  mutating func writeWord(_ bytes: UnsafeRawBufferPointer, to output: inout ByteBuffer) {
    beginWord()
    write(bytes, to: &output)
    beginWord()
  }

  mutating func writeWord(_ word: StaticString, to output: inout ByteBuffer) {
    writeWord(UnsafeRawBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount), to: &output)
  }

  /// What has been written of the current word.
  func currentWord(in output: borrowing ByteBuffer) -> UnsafeRawBufferPointer {
    needsSpace
      ? UnsafeRawBufferPointer(start: nil, count: 0)
      : UnsafeRawBufferPointer(rebasing: output.bytes[wordStart...])
  }
}
