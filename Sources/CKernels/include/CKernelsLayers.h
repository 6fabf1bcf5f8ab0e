#pragma once

#include <stddef.h>
#include <stdint.h>

// Loops of the layers. Pointers to different arrays never overlap unless a comment says so; `stride`s count floats.

/// One time step of an LSTM for one row. `gates` holds the pre-activations i, f, g, o (4 × hidden) and is activated
/// in place; `cell = f·previousCell + i·g`, `cellTanh = tanh(cell)`, `output = o·cellTanh`.
void CKernels_lstmForward(float *gates, const float *previousCell, float *cell, float *cellTanh, float *output,
                          size_t hidden);

/// The derivative of `CKernels_lstmForward` for one row: `gates` holds the activated gates and becomes the gradient of the
/// pre-activations; `cellGradient` comes in as dL/dcell from the later step and leaves as dL/dpreviousCell.
void CKernels_lstmBackward(float *gates, const float *previousCell, const float *cellTanh, const float *outputGradient,
                           float *cellGradient, size_t hidden);

/// `values = max(values + bias, 0)` for one row.
void CKernels_biasReLU(float *values, const float *bias, size_t count);

/// `gradient = activated > 0 ? gradient : 0`.
void CKernels_reluBackward(float *gradient, const float *activated, size_t count);

/// `output += projected[0 ..< width] + Σₖ context[k] · projected[(k + 1) × width ..< (k + 2) × width]` for one row.
void CKernels_contract(const float *context, const float *projected, float *output, size_t contextWidth, size_t width);

/// `contextGradient[k] += Σₙ projected[k × width + n] · outputGradient[n]` for one row.
void CKernels_contractBackward(const float *projected, const float *outputGradient, float *contextGradient,
                               size_t contextWidth, size_t width);

/// `Σᵢ x[i] · y[i]`.
float CKernels_dot(const float *x, const float *y, size_t count);

/// `sums[j] += Σᵢ matrix[i × stride + j]` for `columnCount` columns.
void CKernels_addColumnSums(const float *matrix, size_t rowCount, size_t columnCount, size_t stride, float *sums);

/// `y += scale · x`.
void CKernels_addScaled(const float *x, float scale, float *y, size_t count);

/// `y = x` past the caches, for memory larger than they are: the lines of `y` are not read before they are written, which is
/// a third of the time.
void CKernels_copy(const float *x, float *y, size_t count);

/// `y = scale · x`.
void CKernels_scale(const float *x, float scale, float *y, size_t count);

/// `y = x · z`, element by element; `y` may be `x` or `z`.
void CKernels_multiply(const float *x, const float *z, float *y, size_t count);

/// Inverted dropout: element i is kept, divided by `keep`, where the hash of (key, firstElement + i) falls below `keep`, and is
/// zero elsewhere. The same call on a gradient is its own derivative.
void CKernels_dropout(float *values, size_t count, uint64_t key, uint64_t firstElement, float keep);

/// `values[i]` uniform in (−limit, limit), a pure function of (key, firstElement + i).
void CKernels_uniform(float *values, size_t count, uint64_t key, uint64_t firstElement, float limit);

/// `normalized = (values − mean) ÷ √(variance + epsilon)`, `output = gain · normalized + bias` for one row; returns
/// 1 ÷ √(variance + epsilon).
float CKernels_layerNorm(const float *values, const float *gain, const float *bias, float epsilon, float *normalized,
                         float *output, size_t count);

/// The derivative of `CKernels_layerNorm` with respect to the values, for one row.
void CKernels_layerNormBackward(const float *outputGradient, const float *gain, const float *normalized,
                                float inverseDeviation, float *inputGradient, size_t count);

/// `values[i]` approximately normal, a pure function of (key, firstElement + i): the sum of 12 uniform numbers (Irwin–Hall), at
/// most 6 deviations from the mean.
void CKernels_normal(float *values, size_t count, uint64_t key, uint64_t firstElement, float mean, float deviation);
