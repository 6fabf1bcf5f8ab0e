#include "CKernelsCodec.h"
#include "clones.h"

#include <float.h>
#include <math.h>
#include <string.h>

// A fused multiply-add rounds once where multiply and add round twice: the clones would then differ.
#pragma STDC FP_CONTRACT OFF

/// Elements taken through all loops of one kernel before the next ones, so that they stay in the first cache.
enum { tileLength = 1024 };

static const uint32_t magnitudeMask = 0x7fffffffu;
static const uint32_t infinityBits = 0x7f800000u;

CKERNELS_INLINE uint32_t bitsOf(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

CKERNELS_INLINE float floatOf(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

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

/// Rounds the float in `bits` to the nearest bfloat16, ties to even; NaN becomes a quiet NaN.
CKERNELS_INLINE uint32_t roundToBFloat16(uint32_t bits) {
  uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
  uint32_t quiet = bits >> 16 | 0x40u;
  return (bits & magnitudeMask) > infinityBits ? quiet : rounded;
}

CKERNELS_CLONES void CKernels_codecEncodeBFloat16(const float *restrict values, const float *restrict residual,
                                         size_t count, uint8_t *restrict planes, float *restrict remainder) {
  uint8_t *restrict exponents = planes;
  uint8_t *restrict mantissas = planes + count;
  for (size_t i = 0; i < count; i++) {
    float value = values[i] + residual[i];
    uint32_t rounded = roundToBFloat16(bitsOf(value));
    uint32_t decoded = rounded << 16;
    float lost = value - floatOf(decoded);
    remainder[i] = (decoded & infinityBits) == infinityBits ? 0.0f : lost;
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
CKERNELS_INLINE void encodeBlock(float scale, size_t count, int8_t *restrict codes, float *restrict remainder) {
  const float shift = 12582912.0f;
  float inverse = 1.0f / scale;
  for (size_t i = 0; i < count; i++) {
    float shifted = remainder[i] * inverse + shift;
    codes[i] = (int8_t)bitsOf(shifted);
    remainder[i] = remainder[i] - (shifted - shift) * scale;
  }
}

CKERNELS_CLONES void CKernels_codecEncodeInt8(const float *restrict values, const float *restrict residual, size_t count,
                                     size_t blockLength, float *restrict scales, int8_t *restrict codes,
                                     float *restrict remainder) {
  for (size_t start = 0, block = 0; start < count; start += blockLength, block++) {
    size_t length = count - start < blockLength ? count - start : blockLength;
    uint32_t largest = addAndFindLargest(values + start, residual + start, length, remainder + start);
    float scale = floatOf(largest) / 127.0f;
    if (!(scale * 127.0f <= FLT_MAX)) {
      scales[block] = NAN;
      memset(codes + start, 0, length);
      memset(remainder + start, 0, length * sizeof(float));
    } else if (scale < FLT_MIN) {
      scales[block] = 0.0f;
      memset(codes + start, 0, length);
    } else {
      scales[block] = scale;
      encodeBlock(scale, length, codes + start, remainder + start);
    }
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

CKERNELS_CLONES void CKernels_codecDivide(float *values, float divisor, size_t count) {
  for (size_t i = 0; i < count; i++) values[i] /= divisor;
}

CKERNELS_CLONES void CKernels_codecAddQuotients(float *restrict sum, const float *restrict terms, float divisor,
                                       size_t count) {
  for (size_t i = 0; i < count; i++) sum[i] += terms[i] / divisor;
}
