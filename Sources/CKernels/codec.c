#include "CKernelsCodec.h"
#include "bfloat16.h"

#include <float.h>
#include <math.h>
#include <string.h>

// A fused multiply-add rounds once where multiply and add round twice: the clones would then differ.
#pragma STDC FP_CONTRACT OFF

/// Elements processed by all loops of a kernel at a time, so that they stay in the first-level cache.
enum { tileLength = 1024 };

static const uint32_t magnitudeMask = 0x7fffffffu;
static const uint32_t infinityBits = 0x7f800000u;

CKERNELS_CLONES void CKernels_codecSplitPlanes(const float *restrict values, size_t count, uint8_t *restrict planes) {
  uint8_t *restrict exponents = planes;
  uint8_t *restrict high = planes + count;
  uint8_t *restrict middle = planes + 2 * count;
  uint8_t *restrict low = planes + 3 * count;
  for (size_t i = 0; i < count; i++) {
    uint32_t bits = bitsOf(values[i]);
    bits = bits << 1 | bits >> 31;
    exponents[i] = (uint8_t)(bits >> 24);
    high[i] = (uint8_t)(bits >> 16);
    middle[i] = (uint8_t)(bits >> 8);
    low[i] = (uint8_t)bits;
  }
}

CKERNELS_CLONES void CKernels_codecJoinPlanes(const uint8_t *restrict planes, size_t count, float *restrict values) {
  const uint8_t *restrict exponents = planes;
  const uint8_t *restrict high = planes + count;
  const uint8_t *restrict middle = planes + 2 * count;
  const uint8_t *restrict low = planes + 3 * count;
  for (size_t i = 0; i < count; i++) {
    uint32_t bits = (uint32_t)exponents[i] << 24 | (uint32_t)high[i] << 16 | (uint32_t)middle[i] << 8 | low[i];
    values[i] = floatOf(bits >> 1 | bits << 31);
  }
}

CKERNELS_CLONES void CKernels_codecEncodeBFloat16(const float *restrict values, const float *restrict residual,
                                         size_t count, uint8_t *restrict planes, float *restrict roundingError) {
  uint8_t *restrict exponents = planes;
  uint8_t *restrict mantissas = planes + count;
  for (size_t i = 0; i < count; i++) {
    float value = values[i] + residual[i];
    uint32_t rounded = roundToBFloat16(bitsOf(value));
    uint32_t decoded = rounded << 16;
    float error = value - floatOf(decoded);
    roundingError[i] = (decoded & infinityBits) == infinityBits ? 0.0f : error;
    exponents[i] = (uint8_t)(rounded >> 7);
    mantissas[i] = (uint8_t)(rounded << 1 | rounded >> 15);
  }
}

CKERNELS_CLONES void CKernels_codecDecodeBFloat16(const uint8_t *restrict planes, size_t count, float *restrict values) {
  const uint8_t *restrict exponents = planes;
  const uint8_t *restrict mantissas = planes + count;
  for (size_t i = 0; i < count; i++) {
    uint32_t rotated = (uint32_t)exponents[i] << 8 | mantissas[i];
    values[i] = floatOf((rotated >> 1 | rotated << 15) << 16);
  }
}

/// Sums into `sums` and returns the bits of the largest magnitude; as integers they are ordered, NaN above all.
CKERNELS_INLINE uint32_t addAndFindLargest(const float *restrict values, const float *restrict residual, size_t count,
                                   float *restrict sums) {
  int32_t largest = 0;
  for (size_t start = 0; start < count; start += tileLength) {
    size_t end = count - start < tileLength ? count : start + tileLength;
    for (size_t i = start; i < end; i++) sums[i] = values[i] + residual[i];
    for (size_t i = start; i < end; i++) {
      int32_t magnitude = (int32_t)(bitsOf(sums[i]) & magnitudeMask);
      largest = magnitude > largest ? magnitude : largest;
    }
  }
  return (uint32_t)largest;
}

/// Adding 1.5 · 2²³ leaves no bits for a fraction: the sum is rounded to nearest even, and its low byte is the code.
CKERNELS_INLINE void encodeBlock(float scale, size_t count, int8_t *restrict codes, float *restrict roundingError) {
  const float shift = 12582912.0f;
  float inverse = 1.0f / scale;
  for (size_t i = 0; i < count; i++) {
    float shifted = roundingError[i] * inverse + shift;
    codes[i] = (int8_t)bitsOf(shifted);
    roundingError[i] = roundingError[i] - (shifted - shift) * scale;
  }
}

/// Sets the scale of a block whose sums are in `roundingError`, and returns whether its entries are to be coded; if not, the
/// rounding error is final.
CKERNELS_INLINE int scaleOfBlock(uint32_t largest, float highestCode, size_t count, float *restrict scale,
                                 float *restrict roundingError) {
  float quotient = floatOf(largest) / highestCode;
  if (!(quotient * highestCode <= FLT_MAX)) {
    *scale = NAN;
    memset(roundingError, 0, count * sizeof(float));
    return 0;
  }
  *scale = quotient < FLT_MIN ? 0.0f : quotient;
  return quotient >= FLT_MIN;
}

CKERNELS_CLONES void CKernels_codecEncodeInt8(const float *restrict values, const float *restrict residual, size_t count,
                                     size_t blockLength, float *restrict scales, int8_t *restrict codes,
                                     float *restrict roundingError) {
  for (size_t start = 0, block = 0; start < count; start += blockLength, block++) {
    size_t length = count - start < blockLength ? count - start : blockLength;
    uint32_t largest = addAndFindLargest(values + start, residual + start, length, roundingError + start);
    if (scaleOfBlock(largest, 127.0f, length, scales + block, roundingError + start)) {
      encodeBlock(scales[block], length, codes + start, roundingError + start);
    } else {
      memset(codes + start, 0, length);
    }
  }
}

/// Returns the code of one sum, and leaves its rounding error.
CKERNELS_INLINE uint32_t takeCode(float scale, float inverse, float *restrict sum) {
  const float shift = 12582912.0f;
  float shifted = *sum * inverse + shift;
  *sum = *sum - (shifted - shift) * scale;
  return bitsOf(shifted);
}

/// The first half of a block is in the low nibbles, the second into the high ones: no data crosses vector lanes.
CKERNELS_INLINE void encodeNibbles(float scale, size_t count, uint8_t *restrict bytes, float *restrict roundingError) {
  float inverse = 1.0f / scale;
  size_t half = (count + 1) / 2, pairCount = count / 2;
  float *restrict second = roundingError + half;
  for (size_t i = 0; i < pairCount; i++) {
    uint32_t low = takeCode(scale, inverse, roundingError + i);
    bytes[i] = (uint8_t)((low & 15) | takeCode(scale, inverse, second + i) << 4);
  }
  if (pairCount < half) bytes[pairCount] = takeCode(scale, inverse, roundingError + pairCount) & 15;
}

CKERNELS_CLONES void CKernels_codecEncodeInt4(const float *restrict values, const float *restrict residual, size_t count,
                                     size_t blockLength, float *restrict scales, uint8_t *restrict bytes,
                                     float *restrict roundingError) {
  size_t blockByteCount = (blockLength + 1) / 2;
  for (size_t start = 0, block = 0; start < count; start += blockLength, block++) {
    size_t length = count - start < blockLength ? count - start : blockLength;
    uint8_t *target = bytes + block * blockByteCount;
    uint32_t largest = addAndFindLargest(values + start, residual + start, length, roundingError + start);
    if (scaleOfBlock(largest, 7.0f, length, scales + block, roundingError + start)) {
      encodeNibbles(scales[block], length, target, roundingError + start);
    } else {
      memset(target, 0, (length + 1) / 2);
    }
  }
}

CKERNELS_CLONES void CKernels_codecDecodeInt4(const float *restrict scales, const uint8_t *restrict bytes, size_t count,
                                     size_t blockLength, float *restrict values) {
  size_t blockByteCount = (blockLength + 1) / 2;
  for (size_t start = 0, block = 0; start < count; start += blockLength, block++) {
    size_t length = count - start < blockLength ? count - start : blockLength;
    size_t half = (length + 1) / 2, pairCount = length / 2;
    const uint8_t *restrict source = bytes + block * blockByteCount;
    float *restrict first = values + start;
    float *restrict second = first + half;
    float scale = scales[block];
    for (size_t i = 0; i < half; i++) first[i] = (float)((int8_t)(source[i] << 4) >> 4) * scale;
    for (size_t i = 0; i < pairCount; i++) second[i] = (float)((int8_t)source[i] >> 4) * scale;
  }
}

CKERNELS_CLONES void CKernels_codecDecodeInt8(const float *restrict scales, const int8_t *restrict codes, size_t count,
                                     size_t blockLength, float *restrict values) {
  for (size_t start = 0, block = 0; start < count; start += blockLength, block++) {
    size_t end = count - start < blockLength ? count : start + blockLength;
    float scale = scales[block];
    for (size_t i = start; i < end; i++) values[i] = (float)codes[i] * scale;
  }
}

CKERNELS_CLONES void CKernels_codecAdd(float *restrict sum, const float *restrict terms, size_t count) {
  for (size_t i = 0; i < count; i++) sum[i] += terms[i];
}

CKERNELS_CLONES void CKernels_codecMean(const float *sum, const float *terms, float divisor, float *mean, size_t count) {
#pragma clang loop vectorize(assume_safety)
  for (size_t i = 0; i < count; i++) mean[i] = (sum[i] + terms[i]) / divisor;
}

CKERNELS_CLONES void CKernels_codecDivide(float *values, float divisor, size_t count) {
  for (size_t i = 0; i < count; i++) values[i] /= divisor;
}

CKERNELS_CLONES void CKernels_codecAddQuotients(float *restrict sum, const float *restrict terms, float divisor,
                                       size_t count) {
  for (size_t i = 0; i < count; i++) sum[i] += terms[i] / divisor;
}
