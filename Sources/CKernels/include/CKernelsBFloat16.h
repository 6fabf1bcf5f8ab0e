#pragma once

#include <stddef.h>
#include <stdint.h>

// bfloat16 is the upper half of a float's bits. Rounding is to the nearest, ties to even; NaN stays NaN.

/// `rounded[i] = bfloat16(values[i])`.
void CKernels_roundToBFloat16(const float *values, size_t count, uint16_t *rounded);

/// `rounded[i] = bfloat16(scale · values[i])`.
void CKernels_scaleToBFloat16(const float *values, float scale, size_t count, uint16_t *rounded);

/// `rounded[j × rowCount + i] = bfloat16(matrix[i × stride + j])`: rounded and transposed.
void CKernels_transposeToBFloat16(const float *matrix, size_t rowCount, size_t columnCount, size_t stride,
                                  uint16_t *rounded);

/// `transposed[j × rowCount + i] = matrix[i × stride + j]`.
void CKernels_transpose(const float *matrix, size_t rowCount, size_t columnCount, size_t stride, float *transposed);
