#pragma once

#include <stddef.h>
#include <stdint.h>

// The loops of the gradient codecs. Each gives the same bits on every CPU level: only + − × ÷, one rounding per
// operation, every element on its own. Pointers of one call never overlap, except where noted.

/// Splits 32-bit floats into four byte planes of `count` bytes each, one after the other: exponent, then the
/// mantissa from its high to its low bits, with the sign as the lowest bit of the last plane.
void CKernels_codecSplitPlanes(const float *values, size_t count, uint8_t *planes);

/// The inverse of `CKernels_codecSplitPlanes`.
void CKernels_codecJoinPlanes(const uint8_t *planes, size_t count, float *values);

/// Rounds `values + residual` to bfloat16 (nearest, ties to even; NaN stays NaN) and splits it into two byte planes:
/// exponent, then mantissa with the sign as lowest bit. `roundingError` receives the rounding error, 0 where the result is
/// not finite.
void CKernels_codecEncodeBFloat16(const float *values, const float *residual, size_t count, uint8_t *planes,
                                  float *roundingError);

/// The inverse of `CKernels_codecEncodeBFloat16`.
void CKernels_codecDecodeBFloat16(const uint8_t *planes, size_t count, float *values);

/// Rounds `values + residual` to integers of −127…127 times a scale for each block of `blockLength` elements (the
/// last may be shorter), scale = largest magnitude ÷ 127. `roundingError` receives the rounding error.
/// A block with an entry that is not finite, or so large that 127 × scale is not, gets scale NaN and rounding error 0; a block
/// too small for a normal scale gets scale 0 and keeps all of itself as rounding error.
void CKernels_codecEncodeInt8(const float *values, const float *residual, size_t count, size_t blockLength,
                              float *scales, int8_t *codes, float *roundingError);

/// The inverse of `CKernels_codecEncodeInt8`: code × scale of its block.
void CKernels_codecDecodeInt8(const float *scales, const int8_t *codes, size_t count, size_t blockLength,
                              float *values);

/// Rounds as `CKernels_codecEncodeInt8` does, to −7…7 with scale = largest magnitude ÷ 7. A block has
/// half as many bytes as elements, rounded up: the first half of its codes lies in the low nibbles, the second in the high ones.
void CKernels_codecEncodeInt4(const float *values, const float *residual, size_t count, size_t blockLength,
                              float *scales, uint8_t *bytes, float *roundingError);

/// The inverse of `CKernels_codecEncodeInt4`: code × scale of its block.
void CKernels_codecDecodeInt4(const float *scales, const uint8_t *bytes, size_t count, size_t blockLength,
                              float *values);

/// sum += terms
void CKernels_codecAdd(float *sum, const float *terms, size_t count);

/// mean = (sum + terms) ÷ divisor; `mean` may be `sum` or `terms`.
void CKernels_codecMean(const float *sum, const float *terms, float divisor, float *mean, size_t count);

/// values ÷= divisor
void CKernels_codecDivide(float *values, float divisor, size_t count);

/// sum += terms ÷ divisor
void CKernels_codecAddQuotients(float *sum, const float *terms, float divisor, size_t count);
