import Foundation
import Platform
import Testing

struct MilmErrorTests {
  @Test func isOneLineOfBoundedLength() {
    #expect(MilmError("a\nb\u{2028}c\u{7}d").description == #"a\nb\u2028c\x07d"#)
    #expect(MilmError(String(repeating: "x", count: 10_000)).description.count == 4000)
  }

  @Test func saysWhatWasExpectedFoundAndWhere() {
    #expect(
      MilmError("width", expected: "2 or 4", found: "3").description == "width: expected 2 or 4, found 3")
    #expect(
      MilmError("width", expected: "2 or 4", found: "3", at: "a.tokens").description
        == "width: expected 2 or 4, found 3 (a.tokens)")
  }

  @Test func namesTheReasonOfTheOperatingSystem() {
    #expect(
      MilmError("/a", cannot: "open", code: ENOENT).description
        == "/a: cannot open: No such file or directory")
    #expect(throws: MilmError("/a: cannot open: Permission denied")) {
      errno = EACCES
      try check(-1, "open", "/a")
    }
    #expect(throws: Never.self) { try check(0, "open", "/a") }
  }
}
