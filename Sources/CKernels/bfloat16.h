#pragma once

#include "clones.h"
#include <stdint.h>
#include <string.h>

CKERNELS_INLINE uint32_t bitsOf(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

CKERNELS_INLINE float floatOf(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

/// Rounds the float in `bits` to the nearest bfloat16, ties to even; NaN becomes a quiet NaN.
CKERNELS_INLINE uint32_t roundToBFloat16(uint32_t bits) {
  uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  uint32_t quiet = (bits >> 16) | 0x40u;
  return (bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded;
}

CKERNELS_INLINE float floatOfBFloat16(uint16_t x) { return floatOf((uint32_t)x << 16); }
