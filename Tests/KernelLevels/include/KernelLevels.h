#pragma once

#include "CKernels.h"
#include <stdbool.h>

/// The loops that have to give the same bits on every CPU level, compiled for one of them.
typedef struct {
  const char *name;
  /// Whether this processor can run them.
  bool isSupported;
  double (*sumOfSquares)(const float *, size_t);
  void (*adam)(float *, const float *, float *, float *, size_t, const CKernels_Adam *);
  void (*momentum)(float *, const float *, float *, size_t, float, float, float, float);
  void (*encodeBFloat16)(const float *, const float *, size_t, uint8_t *, float *);
  void (*decodeBFloat16)(const uint8_t *, size_t, float *);
  void (*encodeInt8)(const float *, const float *, size_t, size_t, float *, int8_t *, float *);
  void (*decodeInt8)(const float *, const int8_t *, size_t, size_t, float *);
  void (*encodeInt4)(const float *, const float *, size_t, size_t, float *, uint8_t *, float *);
  void (*decodeInt4)(const float *, const uint8_t *, size_t, size_t, float *);
  void (*add)(float *, const float *, size_t);
  void (*divide)(float *, float, size_t);
  void (*mean)(const float *, const float *, float, float *, size_t);
  void (*addQuotients)(float *, const float *, float, size_t);
  void (*roundToBFloat16)(const float *, size_t, uint16_t *);
} KernelLevel;

KernelLevel KernelLevels_v2(void);
KernelLevel KernelLevels_v3(void);
KernelLevel KernelLevels_v4(void);
