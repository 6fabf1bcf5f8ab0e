#include "CKernelsUpdate.h"
#include "clones.h"

#pragma STDC FP_CONTRACT OFF

CKERNELS_CLONES
double CKernels_sumOfSquares(const float *restrict x, size_t count) {
  double lanes[16] = {0};
  size_t whole = count / 16 * 16;
  for (size_t i = 0; i < whole; i += 16)
    for (size_t j = 0; j < 16; j++) lanes[j] += (double)x[i + j] * (double)x[i + j];
  for (size_t i = whole; i < count; i++) lanes[i - whole] += (double)x[i] * (double)x[i];
  double total = 0;
  for (size_t j = 0; j < 16; j++) total += lanes[j];
  return total;
}

CKERNELS_CLONES
void CKernels_adam(float *restrict parameters, const float *restrict gradient, float *restrict mean,
                   float *restrict square, size_t count, const CKernels_Adam *restrict settings) {
  const CKernels_Adam s = *settings;
  const float rest1 = 1.0f - s.beta1, rest2 = 1.0f - s.beta2;
  for (size_t i = 0; i < count; i++) {
    float g = gradient[i] * s.gradientScale;
    float m = s.beta1 * mean[i] + rest1 * g;
    float v = s.beta2 * square[i] + rest2 * (g * g);
    mean[i] = m;
    square[i] = v;
    // The builtin sets no errno, so that the loop vectorises.
    float step = (m * s.inverseCorrection1) / (__builtin_elementwise_sqrt(v * s.inverseCorrection2) + s.epsilon);
    parameters[i] = parameters[i] - (s.learningRate * step + s.decay * parameters[i]);
  }
}

CKERNELS_CLONES
void CKernels_momentum(float *restrict parameters, const float *restrict gradient, float *restrict velocity, size_t count,
                       float learningRate, float gradientScale, float momentum, float decay) {
  for (size_t i = 0; i < count; i++) {
    float v = momentum * velocity[i] + gradient[i] * gradientScale;
    velocity[i] = v;
    parameters[i] = parameters[i] - (learningRate * v + decay * parameters[i]);
  }
}
