import Foundation
import Reporting
import Testing

struct ReadableTests {
  @Test(
    arguments: [
      (0, "0"), (7, "7"), (999, "999"), (1000, "1.00k"), (12_345, "12.3k"), (999_499, "999k"),
      (999_500, "1.00M"),
      (4_560_000, "4.56M"), (2e9, "2.00G"), (1e18, "1000000T"), (0.123, "0.12"), (9.999, "10.0"),
      (99.96, "100"),
      (-12_345, "-12.3k"), (.infinity, "?"), (.nan, "?"),
    ] as [(Double, String)])
  func aCountHasThreeDigits(value: Double, text: String) {
    #expect(Readable.count(value) == text)
  }

  @Test(
    arguments: [
      (0, "0 B"), (512, "512 B"), (34_500_000, "34.5 MB"), (1_000, "1.00 kB"), (999_999, "1.00 MB"),
      (.max, "9223372 TB"),
    ] as [(Int, String)])
  func bytesHaveAUnit(value: Int, text: String) {
    #expect(Readable.byteCount(value) == text)
  }

  @Test(
    arguments: [
      (0, "0.00 s"), (0.42, "0.42 s"), (0.999, "1.0 s"), (12.34, "12.3 s"), (59.94, "59.9 s"),
      (59.96, "1 min 00 s"),
      (245, "4 min 05 s"), (3599.4, "59 min 59 s"), (3599.6, "1 h 00 min"), (3725, "1 h 02 min"),
      (86_399, "23 h 59 min"), (273_600, "3 d 04 h"), (.infinity, "?"), (.nan, "?"), (-1, "?"), (1e300, "?"),
    ] as [(Double, String)])
  func aDurationHasItsTwoLargestUnits(seconds: Double, text: String) {
    #expect(Readable.duration(seconds: seconds) == text)
  }

  @Test(
    arguments: [
      (1.005, "1.00"), (123.456, "123.46"), (999_999_999.9, "999999999.90"), (1e9, "1e+09"),
      (-2e30, "-2e+30"),
      (.infinity, "infinite"), (-.infinity, "-infinite"), (.nan, "?"),
    ] as [(Double, String)])
  func aDecimalCanBeRead(value: Double, text: String) {
    #expect(Readable.decimal(value, 2) == text)
  }

  @Test(
    arguments: [(0.0996, "10 %"), (0.666, "67 %"), (0.0123, "1.2 %"), (0.999, "100 %")] as [(Double, String)])
  func sharesAreRounded(fraction: Double, text: String) {
    #expect(Readable.precisePercent(fraction) == text)
  }

  @Test(
    arguments: [(0, "0 %"), (0.999, "99 %"), (1, "100 %"), (2, "100 %"), (-1, "0 %"), (.nan, "?")]
      as [(Double, String)])
  func percentagesAreRoundedDown(fraction: Double, text: String) {
    #expect(Readable.percent(fraction) == text)
  }
}
