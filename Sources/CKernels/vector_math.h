#pragma once

#include "clones.h"
#include <stdint.h>
#include <string.h>

// Branch-free functions that a loop around them vectorises. Polynomials after Cephes (Moshier), single precision;
// relative error about 1e-7 over the ranges used.

CKERNELS_INLINE float vectorExp(float x) {
  x = x < -87.33654f ? -87.33654f : x;
  x = x > 88.37626f ? 88.37626f : x;
  // Adding 1.5 * 2^23 leaves the nearest integer in the low mantissa bits, in every clone, with no rounding call.
  const float shift = 12582912.0f;
  float shifted = x * 1.44269504088896341f + shift;
  float n = shifted - shift;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  int32_t bits;
  memcpy(&bits, &shifted, 4);
  // The low bits of `shifted` hold n; moved to the exponent they make 2^n.
  bits = (int32_t)(((uint32_t)bits + 127u) << 23);
  float scale;
  memcpy(&scale, &bits, 4);
  return p * scale;
}

CKERNELS_INLINE float vectorLogistic(float x) { return 1.0f / (1.0f + vectorExp(-x)); }

CKERNELS_INLINE float vectorTanh(float x) {
  float square = x * x;
  float p = -5.70498872745e-3f;
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  float small = p * square * x + x;
  float large = 1.0f - 2.0f / (vectorExp(2.0f * x) + 1.0f);
  return square < 0.390625f ? small : large;
}
