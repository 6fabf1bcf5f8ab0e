/// Splits raw text into tokens as in WikiText, line by line.
///
/// The conventions are those of the Moses tokenizer for English, with WikiText's marks inside words:
///
/// - Tokens are separated by one space; lines stay lines.
///   Unicode's spaces and control characters separate too.
/// - `-` between letters or digits becomes `@-@`; several in a row are a token,
///   one at a word's edge stays there.
/// - `,` and `.` between digits become `@,@` and `@.@`; any other comma is a token.
/// - A full stop at a word's end is a token, unless the word is an abbreviation.
///   Those of letters and stops (`U.S.`, `a.m.`, `Ph.D.`) always keep it; titles and such (`Mr.`,
///   `vs.`), single letters (`J.`), and any word before one that begins in lower case (`approx. two`)
///   keep it unless the line ends there; `No.` and `pp.` keep it before a digit.
///   Stops inside a word stay (`example.com`), several in a row are a token (`...`).
/// - An apostrophe between letters begins a token (`game 's`, `don 't`, `O 'Brien`), and so does one before
///   `s` after a digit, or before `s t d m ll re ve` at the beginning. Any other is a token.
/// - All other punctuation and symbols are tokens of one character, with the marks, variation selectors and skin
///   tones that follow it; symbols joined by U+200D are one token, and so are the two letters of a flag.
///   Letters, marks and numbers of every script, and invisible format characters, are parts of words.
/// - Typographic quotes become `"` and `'`, Unicode's hyphens `-`.
/// - The tokens `<unk>`, `<eos>`, `@-@`, `@,@` and `@.@` stay, so text that is tokenized
///   already is hardly changed.
package struct Tokenizer: Sendable {
  /// A tokenizer; it has no settings.
  package init() {}

  /// The tokens of a text separated by single spaces, line by line.
  package func tokenize(_ text: String) -> String {
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
    var tokens = TokenWriter()
    var position = 0
    while position < characters.count {
      guard characters[position].kind != .space else {
        position += 1
        continue
      }
      let end = characters[position...].firstIndex { $0.kind == .space } ?? characters.count
      tokens.beginToken()
      line.split(position..<end, into: &tokens, output: &output)
      position = end
    }
  }
}

/// Writes the tokens of a line, separated by single spaces.
struct TokenWriter {
  private var isLineEmpty = true
  private var needsSpace = false
  /// The start of the current token in the output.
  private(set) var tokenStart = 0

  /// Ends the current token, if any.
  mutating func beginToken() { needsSpace = true }

  /// Continues the current token, or begins one if it was ended.
  mutating func write(_ bytes: UnsafeRawBufferPointer, to output: inout ByteBuffer) {
    if needsSpace {
      if !isLineEmpty { output.append(UInt8(ascii: " ")) }
      tokenStart = output.count
      needsSpace = false
    }
    isLineEmpty = false
    output.append(bytes)
  }

  /// Writes a separate token.
  mutating func writeToken(_ bytes: UnsafeRawBufferPointer, to output: inout ByteBuffer) {
    beginToken()
    write(bytes, to: &output)
    beginToken()
  }

  mutating func writeToken(_ token: StaticString, to output: inout ByteBuffer) {
    writeToken(UnsafeRawBufferPointer(start: token.utf8Start, count: token.utf8CodeUnitCount), to: &output)
  }

  /// The current token so far.
  func currentToken(in output: borrowing ByteBuffer) -> UnsafeRawBufferPointer {
    needsSpace
      ? UnsafeRawBufferPointer(start: nil, count: 0)
      : UnsafeRawBufferPointer(rebasing: output.bytes[tokenStart...])
  }
}

/// A character of a text: its bytes and its kind for the tokenizer.
struct TextCharacter {
  enum Kind: UInt8 {
    case letter
    case digit
    case space
    case lineEnd
    case stop
    case comma
    case apostrophe
    case hyphen
    case quote
    /// Any other punctuation or symbol.
    case symbol
  }

  /// How a character and its neighbours form one symbol; a subset of the rules of Unicode's UAX 29.
  enum Joining: UInt8 {
    case none
    /// A mark, variation selector or skin tone: part of what precedes it.
    case extender
    /// U+200D: part of what precedes it, to which it joins the next symbol.
    case joiner
    /// A letter of a flag, of two.
    case flagLetter
  }

  let offset: Int
  let byteCount: Int
  let kind: Kind
  let isLowercase: Bool
  /// How it joins its neighbours to one symbol.
  let joining: Joining

  /// Whether it is always part of a word.
  var isWordPart: Bool { kind == .letter || kind == .digit }

  /// The character that begins at `offset` in valid UTF-8.
  init(at offset: Int, in text: UnsafeRawBufferPointer) {
    self.offset = offset
    let first = text[offset]
    if first < 0x80 {
      byteCount = 1
      kind = Self.kind(ofASCII: first)
      isLowercase = first >= UInt8(ascii: "a") && first <= UInt8(ascii: "z")
      joining = .none
    } else {
      byteCount = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
      let scalar = Self.scalar(text[offset..<offset + byteCount])
      kind = Self.kind(of: scalar)
      isLowercase = scalar.properties.isLowercase
      joining = Self.joining(of: scalar)
    }
  }

  private static func kind(ofASCII byte: UInt8) -> Kind {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): .letter
    case UInt8(ascii: "0")...UInt8(ascii: "9"): .digit
    case UInt8(ascii: "\n"): .lineEnd
    case UInt8(ascii: "."): .stop
    case UInt8(ascii: ","): .comma
    case UInt8(ascii: "'"): .apostrophe
    case UInt8(ascii: "-"): .hyphen
    case UInt8(ascii: "\""): .quote
    case 0x21...0x7E: .symbol
    // Control characters other than white space have no meaning in a text and would make tokens differ invisibly.
    default: .space
    }
  }

  private static func kind(of scalar: Unicode.Scalar) -> Kind {
    switch scalar {
    case "\u{2018}", "\u{2019}": return .apostrophe
    case "\u{201C}", "\u{201D}", "\u{201E}": return .quote
    case "\u{2010}", "\u{2011}": return .hyphen
    case "\u{200B}", "\u{FEFF}": return .space
    default: break
    }
    switch scalar.properties.generalCategory {
    case .decimalNumber: return .digit
    case .spaceSeparator, .lineSeparator, .paragraphSeparator, .control: return .space
    case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
      .finalPunctuation, .otherPunctuation, .mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol:
      return .symbol
    default: return .letter
    }
  }

  private static func joining(of scalar: Unicode.Scalar) -> Joining {
    switch scalar {
    case "\u{200D}": .joiner
    case "\u{1F1E6}"..."\u{1F1FF}": .flagLetter
    default: scalar.properties.isGraphemeExtend || scalar.properties.isEmojiModifier ? .extender : .none
    }
  }

  private static func scalar(_ bytes: Slice<UnsafeRawBufferPointer>) -> Unicode.Scalar {
    let leadBits = bytes.count == 2 ? 0x1F : bytes.count == 3 ? 0x0F : 0x07
    let value = bytes.dropFirst().reduce(UInt32(bytes[bytes.startIndex]) & UInt32(leadBits)) {
      $0 << 6 | UInt32($1 & 0x3F)
    }
    return Unicode.Scalar(value) ?? "\u{FFFD}"
  }
}
