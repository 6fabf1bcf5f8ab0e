#pragma once

#include <stddef.h>

// What runs after the exchange. Every clone of these gives the same bits, so that replicas on different CPU levels stay
// equal: no fused multiply-add, only + − × ÷ √, sums in an order that the vector width does not change.

/// `Σ xᵢ²` in double precision, added in 16 interleaved lanes.
double CKernels_sumOfSquares(const float *x, size_t count);

typedef struct {
  float learningRate;
  float gradientScale;      ///< factor of the gradient: clipping
  float decay;              ///< learningRate × weightDecay, 0 without weight decay
  float beta1, beta2;
  float inverseCorrection1; ///< 1 / (1 − beta1ᵗ)
  float inverseCorrection2; ///< 1 / (1 − beta2ᵗ)
  float epsilon;
} CKernels_Adam;

/// Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019).
void CKernels_adam(float *parameters, const float *gradient, float *mean, float *square, size_t count,
                   const CKernels_Adam *settings);

/// Gradient descent with momentum: `velocity = momentum · velocity + scale · gradient`,
/// `parameters −= learningRate · velocity + decay · parameters`.
void CKernels_momentum(float *parameters, const float *gradient, float *velocity, size_t count, float learningRate,
                       float gradientScale, float momentum, float decay);
