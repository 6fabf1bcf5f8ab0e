#include "CKernelsLayers.h"
#include "vector_math.h"

#include <math.h>
#include <string.h>

CKERNELS_CLONES
void CKernels_lstmForward(float *restrict gates, const float *restrict previousCell, float *restrict cell,
                          float *restrict cellTanh, float *restrict output, size_t hidden) {
  float *restrict input = gates, *restrict forget = gates + hidden;
  float *restrict candidate = gates + 2 * hidden, *restrict exposed = gates + 3 * hidden;
  for (size_t j = 0; j < hidden; j++) {
    float i = vectorLogistic(input[j]);
    float f = vectorLogistic(forget[j]);
    float g = vectorTanh(candidate[j]);
    float o = vectorLogistic(exposed[j]);
    float c = f * previousCell[j] + i * g;
    float t = vectorTanh(c);
    input[j] = i;
    forget[j] = f;
    candidate[j] = g;
    exposed[j] = o;
    cell[j] = c;
    cellTanh[j] = t;
    output[j] = o * t;
  }
}

CKERNELS_CLONES
void CKernels_lstmBackward(float *restrict gates, const float *restrict previousCell, const float *restrict cellTanh,
                           const float *restrict outputGradient, float *restrict cellGradient, size_t hidden) {
  float *restrict input = gates, *restrict forget = gates + hidden;
  float *restrict candidate = gates + 2 * hidden, *restrict exposed = gates + 3 * hidden;
  for (size_t j = 0; j < hidden; j++) {
    float i = input[j], f = forget[j], g = candidate[j], o = exposed[j], t = cellTanh[j];
    float dh = outputGradient[j];
    float dc = cellGradient[j] + dh * o * (1.0f - t * t);
    input[j] = dc * g * i * (1.0f - i);
    forget[j] = dc * previousCell[j] * f * (1.0f - f);
    candidate[j] = dc * i * (1.0f - g * g);
    exposed[j] = dh * t * o * (1.0f - o);
    cellGradient[j] = dc * f;
  }
}

CKERNELS_CLONES
void CKernels_biasReLU(float *restrict values, const float *restrict bias, size_t count) {
  for (size_t j = 0; j < count; j++) {
    float x = values[j] + bias[j];
    values[j] = x < 0.0f ? 0.0f : x;
  }
}

CKERNELS_CLONES
void CKernels_reluBackward(float *restrict gradient, const float *restrict activated, size_t count) {
  for (size_t j = 0; j < count; j++) gradient[j] = activated[j] > 0.0f ? gradient[j] : 0.0f;
}

CKERNELS_CLONES
void CKernels_contract(const float *restrict context, const float *restrict projected, float *restrict output,
                       size_t contextWidth, size_t width) {
  for (size_t n = 0; n < width; n++) output[n] += projected[n];
  for (size_t k = 0; k < contextWidth; k++) {
    float c = context[k];
    // Half of the contexts are zero after ReLU, and a zero adds nothing.
    if (c == 0.0f) continue;
    const float *restrict row = projected + (k + 1) * width;
    for (size_t n = 0; n < width; n++) output[n] += c * row[n];
  }
}

CKERNELS_INLINE float dot(const float *restrict x, const float *restrict y, size_t count) {
  float sum = 0;
  {
#pragma clang fp reassociate(on)
    for (size_t i = 0; i < count; i++) sum += x[i] * y[i];
  }
  return sum;
}

CKERNELS_CLONES
float CKernels_dot(const float *x, const float *y, size_t count) { return dot(x, y, count); }

CKERNELS_CLONES
void CKernels_contractBackward(const float *restrict projected, const float *restrict outputGradient,
                               float *restrict contextGradient, size_t contextWidth, size_t width) {
  for (size_t k = 0; k < contextWidth; k++) contextGradient[k] += dot(projected + k * width, outputGradient, width);
}

CKERNELS_CLONES
void CKernels_addColumnSums(const float *restrict matrix, size_t rowCount, size_t columnCount, size_t stride,
                            float *restrict sums) {
  for (size_t i = 0; i < rowCount; i++) {
    const float *restrict row = matrix + i * stride;
    for (size_t j = 0; j < columnCount; j++) sums[j] += row[j];
  }
}

CKERNELS_CLONES
void CKernels_addScaled(const float *restrict x, float scale, float *restrict y, size_t count) {
  for (size_t i = 0; i < count; i++) y[i] += scale * x[i];
}

typedef float Line __attribute__((vector_size(64)));

CKERNELS_CLONES
void CKernels_copy(const float *x, float *y, size_t count) {
  const size_t length = sizeof(Line) / sizeof(float), ahead = 256;
  size_t i = 0;
  for (; i < count && (uintptr_t)(y + i) % sizeof(Line) != 0; i++) y[i] = x[i];
  for (; i + length <= count; i += length) {
    Line line;
    __builtin_prefetch(x + i + ahead, 0, 0);
    memcpy(&line, x + i, sizeof line);
    __builtin_nontemporal_store(line, (Line *)(y + i));
  }
  for (; i < count; i++) y[i] = x[i];
  // Such stores are weakly ordered: the fence makes them visible before any later synchronization.
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

CKERNELS_CLONES
void CKernels_scale(const float *x, float scale, float *y, size_t count) {
  for (size_t i = 0; i < count; i++) y[i] = scale * x[i];
}

CKERNELS_CLONES
void CKernels_multiply(const float *x, const float *z, float *y, size_t count) {
  for (size_t i = 0; i < count; i++) y[i] = x[i] * z[i];
}

// SplitMix64 (Steele, Lea, Flood 2014): a Weyl sequence, in which element i of a stream is at key + (i + 1) · step.
// Loops advance by adding: a 64-bit multiplication is the most expensive operation.
static const uint64_t weylStep = 0x9E3779B97F4A7C15ULL;

CKERNELS_INLINE uint64_t weylStart(uint64_t key, uint64_t element) { return key + (element + 1) * weylStep; }

CKERNELS_INLINE uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

CKERNELS_CLONES
void CKernels_dropout(float *values, size_t count, uint64_t key, uint64_t firstElement, float keep) {
  const uint32_t threshold = (uint32_t)(keep * 16777216.0f);
  const float factor = 1.0f / keep;
  uint64_t place = weylStart(key, firstElement);
  for (size_t i = 0; i < count; i++, place += weylStep) {
    uint32_t bits = (uint32_t)(mixed(place) >> 40);
    values[i] = bits < threshold ? values[i] * factor : 0.0f;
  }
}

CKERNELS_CLONES
void CKernels_uniform(float *values, size_t count, uint64_t key, uint64_t firstElement, float limit) {
  uint64_t place = weylStart(key, firstElement);
  for (size_t i = 0; i < count; i++, place += weylStep) {
    uint32_t bits = (uint32_t)(mixed(place) >> 40);
    values[i] = (((float)bits + 0.5f) * (1.0f / 8388608.0f) - 1.0f) * limit;
  }
}

CKERNELS_CLONES
float CKernels_layerNorm(const float *restrict values, const float *restrict gain, const float *restrict bias,
                         float epsilon, float *restrict normalized, float *restrict output, size_t count) {
  float sum = 0, squares = 0;
  {
#pragma clang fp reassociate(on)
    for (size_t j = 0; j < count; j++) sum += values[j];
  }
  const float mean = sum / (float)count;
  {
#pragma clang fp reassociate(on)
    for (size_t j = 0; j < count; j++) squares += (values[j] - mean) * (values[j] - mean);
  }
  const float inverseDeviation = 1.0f / sqrtf(squares / (float)count + epsilon);
  for (size_t j = 0; j < count; j++) {
    float x = (values[j] - mean) * inverseDeviation;
    normalized[j] = x;
    output[j] = gain[j] * x + bias[j];
  }
  return inverseDeviation;
}

CKERNELS_CLONES
void CKernels_layerNormBackward(const float *restrict outputGradient, const float *restrict gain,
                                const float *restrict normalized, float inverseDeviation,
                                float *restrict inputGradient, size_t count) {
  float sum = 0, product = 0;
  {
#pragma clang fp reassociate(on)
    for (size_t j = 0; j < count; j++) {
      float d = outputGradient[j] * gain[j];
      sum += d;
      product += d * normalized[j];
    }
  }
  const float mean = sum / (float)count, slope = product / (float)count;
  for (size_t j = 0; j < count; j++)
    inputGradient[j] = (outputGradient[j] * gain[j] - mean - normalized[j] * slope) * inverseDeviation;
}

CKERNELS_CLONES
void CKernels_normal(float *values, size_t count, uint64_t key, uint64_t firstElement, float mean, float deviation) {
  // Ranks initialize their parameters by themselves: a fused multiply-add would give other bits than two roundings.
#pragma STDC FP_CONTRACT OFF
  for (size_t i = 0; i < count; i++) {
    // Integers, so that every machine gets the same sum.
    uint32_t sum = 0;
    uint64_t place = weylStart(key, 3 * (firstElement + i));
    for (size_t j = 0; j < 3; j++, place += weylStep) {
      uint64_t bits = mixed(place);
      sum += (uint32_t)(bits & 0xFFFF) + (uint32_t)(bits >> 16 & 0xFFFF) + (uint32_t)(bits >> 32 & 0xFFFF) +
             (uint32_t)(bits >> 48);
    }
    values[i] = mean + deviation * (((float)sum - 12 * 32767.5f) * (1.0f / 65536.0f));
  }
}
