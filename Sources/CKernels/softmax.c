#include "CKernelsSoftmax.h"
#include "bfloat16.h"
#include "vector_math.h"

#include <math.h>

CKERNELS_INLINE float biasedMaximum(float *restrict logits, const float *restrict bias, size_t count) {
  // Explicit lanes, because the compiler does not reorder a maximum over values that could be NaN.
  float lanes[16];
  for (size_t j = 0; j < 16; j++) lanes[j] = -INFINITY;
  size_t whole = count / 16 * 16;
  for (size_t v = 0; v < whole; v += 16)
    for (size_t j = 0; j < 16; j++) {
      float x = logits[v + j] + bias[v + j];
      logits[v + j] = x;
      lanes[j] = x > lanes[j] ? x : lanes[j];
    }
  for (size_t v = whole; v < count; v++) {
    float x = logits[v] + bias[v];
    logits[v] = x;
    lanes[0] = x > lanes[0] ? x : lanes[0];
  }
  float maximum = lanes[0];
  for (size_t j = 1; j < 16; j++) maximum = lanes[j] > maximum ? lanes[j] : maximum;
  return maximum;
}

#define SUM_OF_EXPONENTIALS(KEEP)                   \
  float sum = 0;                                    \
  {                                                 \
    _Pragma("clang fp reassociate(on)")             \
    for (size_t v = 0; v < count; v++) {            \
      float e = vectorExp(logits[v] - maximum);     \
      KEEP;                                         \
      sum += e;                                     \
    }                                               \
  }                                                 \
  return sum

CKERNELS_CLONES
float CKernels_softmaxSum(float *restrict logits, const float *restrict bias, size_t count, float *restrict largest) {
  const float maximum = *largest = biasedMaximum(logits, bias, count);
  SUM_OF_EXPONENTIALS();
}

CKERNELS_CLONES
float CKernels_softmaxExponentials(float *restrict logits, const float *restrict bias, size_t count,
                                   float *restrict largest, float *restrict exponentials) {
  const float maximum = *largest = biasedMaximum(logits, bias, count);
  SUM_OF_EXPONENTIALS(exponentials[v] = e);
}

CKERNELS_CLONES
float CKernels_softmaxExponentialsBFloat16(float *restrict logits, const float *restrict bias, size_t count,
                                           float *restrict largest, uint16_t *restrict exponentials) {
  const float maximum = *largest = biasedMaximum(logits, bias, count);
  SUM_OF_EXPONENTIALS(exponentials[v] = (uint16_t)roundToBFloat16(bitsOf(e)));
}

CKERNELS_CLONES
double CKernels_logSumExp(const float *restrict largest, const float *restrict sums, size_t count) {
  float highest = -INFINITY;
  for (size_t b = 0; b < count; b++) highest = largest[b] > highest ? largest[b] : highest;
  double total = 0;
  for (size_t b = 0; b < count; b++) total += (double)(sums[b] * vectorExp(largest[b] - highest));
  return log(total) + (double)highest;
}

CKERNELS_CLONES
void CKernels_softmaxFactors(float *largest, size_t count, float logSumExp, float scale) {
  for (size_t b = 0; b < count; b++) largest[b] = scale * vectorExp(largest[b] - logSumExp);
}

CKERNELS_CLONES
void CKernels_addScaledBFloat16(const uint16_t *restrict exponentials, float scale, float *restrict sums,
                                size_t count) {
  for (size_t v = 0; v < count; v++) sums[v] += scale * floatOfBFloat16(exponentials[v]);
}
