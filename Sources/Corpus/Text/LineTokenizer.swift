/// The tokenizer's rules, applied to the chunks between the spaces of one line.
struct LineTokenizer {
  private static let apostrophe: StaticString = "'"
  private static let protectedTokens = ["<unk>", "<eos>", "@-@", "@,@", "@.@"].map { Array($0.utf8) }
  private static let clitics = ["s", "t", "d", "m", "ll", "re", "ve"].map { Array($0.utf8) }

  let characters: [TextCharacter]
  let text: UnsafeRawBufferPointer

  /// Writes the tokens of one chunk without spaces.
  func split(_ chunk: Range<Int>, into tokens: inout TokenWriter, output: inout ByteBuffer) {
    if characters[chunk.lowerBound].kind == .symbol,
      Self.protectedTokens.contains(where: bytes(chunk).elementsEqual)
    {
      tokens.writeToken(bytes(chunk), to: &output)
      return
    }
    var position = chunk.lowerBound
    while position < chunk.upperBound {
      let end = runEnd(from: position, in: chunk)
      let run = bytes(position..<end)
      let isBetweenDigits =
        end < chunk.upperBound && position > chunk.lowerBound && end == position + 1
        && characters[position - 1].kind == .digit && characters[end].kind == .digit
      switch characters[position].kind {
      case .comma where isBetweenDigits: tokens.writeToken("@,@", to: &output)
      case .stop where isBetweenDigits: tokens.writeToken("@.@", to: &output)
      case .quote: tokens.writeToken("\"", to: &output)
      case .comma, .symbol: tokens.writeToken(run, to: &output)
      case .stop: writeStops(position..<end, in: chunk, into: &tokens, output: &output)
      case .hyphen: writeHyphens(position..<end, in: chunk, into: &tokens, output: &output)
      case .apostrophe: writeApostrophe(position..<end, in: chunk, into: &tokens, output: &output)
      case .letter, .digit, .space, .lineEnd: tokens.write(run, to: &output)
      }
      position = end
    }
  }

  /// The end of the run of letters and digits, of stops or of hyphens at `start`, or of the symbol there.
  private func runEnd(from start: Int, in chunk: Range<Int>) -> Int {
    let first = characters[start]
    var end = start + 1
    guard first.isWordPart || first.kind == .stop || first.kind == .hyphen else {
      return symbolEnd(from: start, in: chunk)
    }
    while end < chunk.upperBound
      && (first.isWordPart ? characters[end].isWordPart : characters[end].kind == first.kind)
    {
      end += 1
    }
    return end
  }

  /// The end of one symbol of one or several characters.
  private func symbolEnd(from start: Int, in chunk: Range<Int>) -> Int {
    var end = start + 1
    while end < chunk.upperBound {
      let next = characters[end]
      let isJoined =
        switch next.joining {
        case .extender, .joiner: true
        case .flagLetter: end == start + 1 && characters[start].joining == .flagLetter
        case .none: next.kind == .symbol && characters[end - 1].joining == .joiner
        }
      guard isJoined else { break }
      end += 1
    }
    return end
  }

  private func writeStops(
    _ run: Range<Int>, in chunk: Range<Int>, into tokens: inout TokenWriter, output: inout ByteBuffer
  ) {
    let isInsideWord = run.upperBound < chunk.upperBound && characters[run.upperBound].isWordPart
    if run.count > 1 {
      tokens.writeToken(bytes(run), to: &output)
    } else if isInsideWord || keepsStop(tokens.currentToken(in: output), at: run.lowerBound) {
      tokens.write(bytes(run), to: &output)
    } else {
      tokens.writeToken(bytes(run), to: &output)
    }
  }

  private func writeHyphens(
    _ run: Range<Int>, in chunk: Range<Int>, into tokens: inout TokenWriter, output: inout ByteBuffer
  ) {
    let isBetweenWordParts =
      run.lowerBound > chunk.lowerBound && characters[run.lowerBound - 1].isWordPart
      && run.upperBound < chunk.upperBound && characters[run.upperBound].isWordPart
    if run.count > 1 {
      tokens.writeToken(bytes(run), to: &output)
    } else if isBetweenWordParts {
      tokens.writeToken("@-@", to: &output)
    } else {
      tokens.write(bytes(run), to: &output)
    }
  }

  private func writeApostrophe(
    _ run: Range<Int>, in chunk: Range<Int>, into tokens: inout TokenWriter, output: inout ByteBuffer
  ) {
    let following = characters[run.upperBound..<chunk.upperBound].prefix { $0.isWordPart }
    let tail = bytes(following.startIndex..<following.endIndex)
    let beginsToken =
      if run.lowerBound == chunk.lowerBound {
        Self.clitics.contains(where: tail.elementsEqual)
      } else {
        switch characters[run.lowerBound - 1].kind {
        case .letter: following.first?.kind == .letter
        case .digit: tail.elementsEqual(Self.clitics[0])
        default: false
        }
      }
    tokens.beginToken()
    let mark = UnsafeRawBufferPointer(
      start: Self.apostrophe.utf8Start, count: Self.apostrophe.utf8CodeUnitCount)
    tokens.write(mark, to: &output)
    if !beginsToken { tokens.beginToken() }
  }

  /// Whether the stop at `position` belongs to the preceding word.
  private func keepsStop(_ word: UnsafeRawBufferPointer, at position: Int) -> Bool {
    if word.isEmpty { return false }
    if Abbreviations.isDotted(word) { return true }
    let rest = characters[(position + 1)...]
    guard rest.contains(where: \.isWordPart) else { return false }
    if Abbreviations.isKnown(word) { return true }
    let next = rest.first { $0.kind != .space }
    if next?.kind == .digit && Abbreviations.isKnownBeforeNumbers(word) { return true }
    return next?.isLowercase == true && characters[position - 1].kind == .letter
  }

  private func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer {
    guard let first = range.first, let last = range.last else {
      return UnsafeRawBufferPointer(start: nil, count: 0)
    }
    let end = characters[last].offset + characters[last].byteCount
    return UnsafeRawBufferPointer(rebasing: text[characters[first].offset..<end])
  }
}

/// English abbreviations that end with a full stop.
enum Abbreviations {
  private static let known: Set<String> = [
    "Mr", "Mrs", "Ms", "Messrs", "Mme", "Mlle", "Dr", "Drs", "Prof", "Rev", "Fr", "Hon", "Sr", "Jr", "St",
    "Ste",
    "Mt", "Ft", "Gen", "Brig", "Col", "Maj", "Lt", "Capt", "Cmdr", "Cdr", "Adm", "Ens", "Sgt", "Cpl", "Pvt",
    "Pfc",
    "Gov", "Sen", "Rep", "Pres", "Supt", "Insp", "Msgr", "Asst", "Bros", "Co", "Corp", "Inc", "Ltd", "Op",
    "Vol",
    "vs", "cf", "ca", "al", "ed", "eds", "vol", "vols", "approx", "lit", "var", "ssp", "subsp", "sp", "spp",
    "Jan", "Feb", "Aug", "Sept", "Oct", "Nov", "Dec",
  ]
  private static let knownBeforeNumbers: Set<String> = [
    "No", "Nos", "no", "nos", "Nr", "Art", "p", "pp", "fig", "Fig",
  ]

  /// Single letters and listed abbreviations.
  static func isKnown(_ word: UnsafeRawBufferPointer) -> Bool {
    let spelling = String(decoding: word, as: UTF8.self)
    if spelling.unicodeScalars.count == 1 {
      return spelling.unicodeScalars.first?.properties.isAlphabetic == true
    }
    return known.contains(spelling)
  }

  static func isKnownBeforeNumbers(_ word: UnsafeRawBufferPointer) -> Bool {
    knownBeforeNumbers.contains(String(decoding: word, as: UTF8.self))
  }

  /// Whether the word consists of one or two letters between stops, like `U.S` or `Ph.D`.
  static func isDotted(_ word: UnsafeRawBufferPointer) -> Bool {
    guard word.contains(UInt8(ascii: ".")) else { return false }
    return word.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { part in
      (1...2).contains(part.count)
        && part.allSatisfy { $0 | 0x20 >= UInt8(ascii: "a") && $0 | 0x20 <= UInt8(ascii: "z") }
    }
  }
}
