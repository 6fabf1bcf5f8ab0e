#pragma once

#include <stddef.h>
#include <stdint.h>

// The softmax over a vocabulary, a block of a few hundred tokens at a time: each block has its own maximum logit per row,
// so a row's blocks are independent until their sums are combined.

/// Adds `bias` to one row of a block of logits. Returns the sum of exp(logit − largest); sets `largest`.
float CKernels_softmaxSum(float *logits, const float *bias, size_t count, float *largest);

/// `CKernels_softmaxSum` that keeps the exponentials, each in (0, 1].
float CKernels_softmaxExponentials(float *logits, const float *bias, size_t count, float *largest,
                                   float *exponentials);

/// `CKernels_softmaxExponentials`, the exponentials rounded to bfloat16. The sum is of the unrounded ones.
float CKernels_softmaxExponentialsBFloat16(float *logits, const float *bias, size_t count, float *largest,
                                           uint16_t *exponentials);

/// The logarithm of the sum of all exponentials of a row, from the largest logit and the sum of each of its blocks.
double CKernels_logSumExp(const float *largest, const float *sums, size_t count);

/// Replaces each block's largest logit by `scale · exp(largest − logSumExp)`, the factor that turns its exponentials into
/// `scale` × probabilities.
void CKernels_softmaxFactors(float *largest, size_t count, float logSumExp, float scale);

/// `sums[v] += scale · exponentials[v]`.
void CKernels_addScaledBFloat16(const uint16_t *exponentials, float scale, float *sums, size_t count);
