import CKernels
import Foundation
import KernelLevels
import Tensors
import TestSupport
import Testing

/// Loops that run after the exchange have the same bits on every CPU level, so that replicas on different processors stay equal.
@Suite struct KernelLevelTests {
  /// Long enough for whole vectors, half vectors and single elements; numbers of all magnitudes, zeros of both signs and denormals.
  private static let count = 5003

  private static func numbers(_ name: String) -> [Float] {
    let key = RandomKey(seed: 3).derived(name)
    return (0..<count).map { index in
      let size = Float(exp2(key.derived("size").uniform(index) * 60 - 40))
      let value = Float(key.uniform(index) * 2 - 1) * size
      return index % 97 == 0 ? 0 : index % 89 == 0 ? -0.0 : index % 83 == 0 ? 1e-41 : value
    }
  }

  private static var levels: [KernelLevel] {
    [KernelLevels_v2(), KernelLevels_v3(), KernelLevels_v4()].filter(\.isSupported)
  }

  /// Expects the same bits from the same call on every level.
  private func expectSameBits(
    _ name: String, sourceLocation: SourceLocation = #_sourceLocation, of call: (KernelLevel) -> [UInt32]
  ) {
    let expected = call(Self.levels[0])
    for level in Self.levels.dropFirst() {
      let place = firstDifference(call(level), expected)
      #expect(
        place == nil, "\(name) of \(String(cString: level.name))", sourceLocation: sourceLocation)
    }
  }

  @Test func thisProcessorHasMoreThanOneLevel() throws {
    #if arch(x86_64)
      try #require(Self.levels.count > 1, "levels of one kind alone cannot be compared")
    #endif
  }

  @Test func updatesAreTheSame() {
    let (start, gradient) = (Self.numbers("parameters"), Self.numbers("gradient"))
    let moments = Self.numbers("moments")
    expectSameBits("adam") { level in
      var (parameters, mean, square) = (start, moments, moments.map { $0 * $0 })
      var settings = CKernels_Adam(
        learningRate: 1e-3, gradientScale: 0.37, decay: 1e-5, beta1: 0.9, beta2: 0.999,
        inverseCorrection1: 1.11, inverseCorrection2: 3.3, epsilon: 1e-8)
      level.adam(&parameters, gradient, &mean, &square, Self.count, &settings)
      return (parameters + mean + square).map(\.bitPattern)
    }
    expectSameBits("momentum") { level in
      var (parameters, velocity) = (start, moments)
      level.momentum(&parameters, gradient, &velocity, Self.count, 0.1, 0.37, 0.9, 1e-5)
      return (parameters + velocity).map(\.bitPattern)
    }
    expectSameBits("sum of squares") { level in
      let bits = level.sumOfSquares(gradient, Self.count).bitPattern
      return [UInt32(truncatingIfNeeded: bits), UInt32(truncatingIfNeeded: bits >> 32)]
    }
  }

  @Test func sumsAndMeansAreTheSame() {
    let (values, terms) = (Self.numbers("values"), Self.numbers("terms"))
    expectSameBits("sum") { level in
      var sum = values
      level.add(&sum, terms, Self.count)
      level.addQuotients(&sum, terms, 3, Self.count)
      level.divide(&sum, 7, Self.count)
      return sum.map(\.bitPattern)
    }
    expectSameBits("mean") { level in
      var mean = values
      level.mean(values, terms, 3, &mean, Self.count)
      return mean.map(\.bitPattern)
    }
  }

  @Test func codecsAreTheSame() {
    let (values, residual) = (Self.numbers("values"), Self.numbers("residual"))
    let block = 256
    let scaleCount = (Self.count + block - 1) / block
    expectSameBits("bfloat16") { level in
      var planes = [UInt8](repeating: 0, count: 2 * Self.count)
      var (remainder, decoded) = (values, values)
      level.encodeBFloat16(values, residual, Self.count, &planes, &remainder)
      level.decodeBFloat16(planes, Self.count, &decoded)
      return planes.map(UInt32.init) + (remainder + decoded).map(\.bitPattern)
    }
    expectSameBits("int8") { level in
      var codes = [Int8](repeating: 0, count: Self.count)
      var scales = [Float](repeating: 0, count: scaleCount)
      var (remainder, decoded) = (values, values)
      level.encodeInt8(values, residual, Self.count, block, &scales, &codes, &remainder)
      level.decodeInt8(scales, codes, Self.count, block, &decoded)
      return codes.map { UInt32(UInt8(bitPattern: $0)) } + (scales + remainder + decoded).map(\.bitPattern)
    }
    expectSameBits("int4") { level in
      var bytes = [UInt8](repeating: 0, count: Self.count + block)
      var scales = [Float](repeating: 0, count: scaleCount)
      var (remainder, decoded) = (values, values)
      level.encodeInt4(values, residual, Self.count, block, &scales, &bytes, &remainder)
      level.decodeInt4(scales, bytes, Self.count, block, &decoded)
      return bytes.map(UInt32.init) + (scales + remainder + decoded).map(\.bitPattern)
    }
  }

  @Test func roundingToBFloat16IsToTheNearestEven() {
    let values: [Float] = [
      1, 1 + 0x1p-8, 1 + 0x1.8p-7, 1 + 0x1.01p-8, -0.0, .infinity, .greatestFiniteMagnitude, .nan,
    ]
    for level in Self.levels {
      var rounded = [UInt16](repeating: 0, count: values.count)
      level.roundToBFloat16(values, values.count, &rounded)
      #expect(rounded.dropLast() == [0x3F80, 0x3F80, 0x3F82, 0x3F81, 0x8000, 0x7F80, 0x7F80])
      #expect(Float(bitPattern: UInt32(rounded[7]) << 16).isNaN)
    }
  }
}
