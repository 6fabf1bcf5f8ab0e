/// One character of a text: where its bytes are and what the tokenizer makes of it.
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

  let offset: Int
  let byteCount: Int
  let kind: Kind
  let isLowercase: Bool

  /// Whether it is a part of words wherever it stands.
  var isWordPart: Bool { kind == .letter || kind == .digit }

  /// The character that begins at `offset` in valid UTF-8.
  init(at offset: Int, in text: UnsafeRawBufferPointer) {
    self.offset = offset
    let first = text[offset]
    if first < 0x80 {
      byteCount = 1
      kind = Self.kind(ofASCII: first)
      isLowercase = first >= UInt8(ascii: "a") && first <= UInt8(ascii: "z")
    } else {
      byteCount = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
      let scalar = Self.scalar(text[offset..<offset + byteCount])
      kind = Self.kind(of: scalar)
      isLowercase = scalar.properties.isLowercase
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
    // Control characters other than white space mean nothing in a text and would make words differ unseen.
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

  private static func scalar(_ bytes: Slice<UnsafeRawBufferPointer>) -> Unicode.Scalar {
    let leadBits = bytes.count == 2 ? 0x1F : bytes.count == 3 ? 0x0F : 0x07
    let value = bytes.dropFirst().reduce(UInt32(bytes[bytes.startIndex]) & UInt32(leadBits)) {
      $0 << 6 | UInt32($1 & 0x3F)
    }
    return Unicode.Scalar(value) ?? "\u{FFFD}"
  }
}
