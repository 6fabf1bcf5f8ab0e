import Corpus
import Testing

struct TokenizerTests {
  @Test(
    arguments: [
      ("Hello, world.", "Hello , world ."),
      ("role-playing", "role @-@ playing"),
      ("state-of-the-art", "state @-@ of @-@ the @-@ art"),
      ("pre- and post-war", "pre- and post @-@ war"),
      ("minus -5", "minus -5"),
      ("wait--what", "wait -- what"),
      ("1939-45", "1939 @-@ 45"),
      ("co\u{2010}operate", "co @-@ operate"),
      ("1,000,000 people", "1 @,@ 000 @,@ 000 people"),
      ("one,two, 3,", "one , two , 3 ,"),
      ("3.14 and v1.5", "3 @.@ 14 and v1 @.@ 5"),
      ("in 1990.", "in 1990 ."),
      ("the game's end", "the game 's end"),
      ("the players' end", "the players ' end"),
      ("don't, I'm, we'll", "don 't , I 'm , we 'll"),
      ("O'Brien", "O 'Brien"),
      ("1990's", "1990 's"),
      ("'Hello'", "' Hello '"),
      ("'s 't 'll", "'s 't 'll"),
      ("it\u{2019}s", "it 's"),
      ("\"Yes,\" he said.", "\" Yes , \" he said ."),
      ("\u{201C}Yes\u{201D}", "\" Yes \""),
      ("the U.S. army", "the U.S. army"),
      ("in the U.S.", "in the U.S."),
      ("(U.S.)", "( U.S. )"),
      ("at 5 p.m. today", "at 5 p.m. today"),
      ("a Ph.D. thesis", "a Ph.D. thesis"),
      ("Mr. Smith met J. R. Jones", "Mr. Smith met J. R. Jones"),
      ("vitamin C.", "vitamin C ."),
      ("approx. two", "approx. two"),
      ("misc. things", "misc. things"),
      ("It ended. Then", "It ended . Then"),
      ("It ended.\" Then", "It ended . \" Then"),
      ("No. 5 said No. Then", "No. 5 said No . Then"),
      ("visit example.com.", "visit example.com ."),
      ("well... yes", "well ... yes"),
      ("Really?!", "Really ? !"),
      ("$5 is 10%", "$ 5 is 10 %"),
      ("and/or R&B", "and / or R & B"),
      ("2007\u{2013}08", "2007 \u{2013} 08"),
      ("[1]; {x}: a_b", "[ 1 ] ; { x } : a _ b"),
      ("Sen\u{14D} \u{6226}\u{5834}\u{3002}", "Sen\u{14D} \u{6226}\u{5834} \u{3002}"),
      ("e\u{301}t\u{E9} \u{20AC}5", "e\u{301}t\u{E9} \u{20AC} 5"),
      ("a\u{A0}b\u{2003}c\u{FEFF}d", "a b c d"),
      ("  a \t b  ", "a b"),
      ("a <unk> @-@ b", "a <unk> @-@ b"),
      ("\u{1F600}!", "\u{1F600} !"),
      ("I \u{2764}\u{FE0F} it\u{2764}\u{FE0F}.", "I \u{2764}\u{FE0F} it \u{2764}\u{FE0F} ."),
      (
        "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}\u{1F600}",
        "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} \u{1F600}"
      ),
      ("\u{1F3F4}\u{200D}\u{2620}\u{FE0F}ship", "\u{1F3F4}\u{200D}\u{2620}\u{FE0F} ship"),
      ("\u{1F44D}\u{1F3FD}\u{1F44D}\u{1F3FF}", "\u{1F44D}\u{1F3FD} \u{1F44D}\u{1F3FF}"),
      (
        "\u{1F1E9}\u{1F1EA}\u{1F1EB}\u{1F1F7}\u{1F1EB}",
        "\u{1F1E9}\u{1F1EA} \u{1F1EB}\u{1F1F7} \u{1F1EB}"
      ),
      ("1\u{FE0F}\u{20E3}#\u{FE0F}\u{20E3}", "1\u{FE0F}\u{20E3} #\u{FE0F}\u{20E3}"),
      ("\u{FF0C}\u{FE00}a \u{2260}\u{338}b", "\u{FF0C}\u{FE00} a \u{2260}\u{338} b"),
      ("\u{201C}\u{FE01}Yes\u{201D}\u{FE01}", "\" Yes \""),
      ("it\u{2019}\u{FE00}s", "it 's"),
      ("\u{915}\u{94D}\u{200D}\u{937}", "\u{915}\u{94D}\u{200D}\u{937}"),
      ("\u{645}\u{200C}\u{646}", "\u{645}\u{200C}\u{646}"),
      ("", ""),
      ("...", "..."),
      (".", "."),
      ("-", "-"),
      ("'", "'"),
    ])
  func followsTheConventions(raw: String, expected: String) {
    #expect(spellings([Tokenizer().tokenize(raw)]) == spellings([expected]))
  }

  @Test func preservesLines() {
    #expect(Tokenizer().tokenize("a.\n\nMr.\nB, c\r\n d") == "a .\n\nMr .\nB , c\nd")
  }

  @Test func leavesTokenizedTextAlmostUnchanged() {
    let text =
      "= Title =\n\nThe game 's 1 @,@ 000 role @-@ players , e.g. Mr. X , didn 't <unk> . "
      + "\" Yes ! \" ( 2 @.@ 5 )"
    #expect(Tokenizer().tokenize(text) == text)
  }
}
