// Compiles the product's own loops for one CPU level, under names of that level. Defined before: LEVEL, the level's name;
// LEVEL_ATTRIBUTE, what makes the compiler use it; LEVEL_SUPPORTED, whether this processor can run it.

#define JOIN_NAMES(a, b) a##_##b
#define JOIN(a, b) JOIN_NAMES(a, b)
#define LEVEL_STRING_OF(x) #x
#define LEVEL_STRING(x) LEVEL_STRING_OF(x)
#define CKERNELS_CLONES LEVEL_ATTRIBUTE

#define CKernels_sumOfSquares JOIN(sumOfSquares, LEVEL)
#define CKernels_adam JOIN(adam, LEVEL)
#define CKernels_momentum JOIN(momentum, LEVEL)
#define CKernels_codecSplitPlanes JOIN(splitPlanes, LEVEL)
#define CKernels_codecJoinPlanes JOIN(joinPlanes, LEVEL)
#define CKernels_codecEncodeBFloat16 JOIN(encodeBFloat16, LEVEL)
#define CKernels_codecDecodeBFloat16 JOIN(decodeBFloat16, LEVEL)
#define CKernels_codecEncodeInt8 JOIN(encodeInt8, LEVEL)
#define CKernels_codecDecodeInt8 JOIN(decodeInt8, LEVEL)
#define CKernels_codecEncodeInt4 JOIN(encodeInt4, LEVEL)
#define CKernels_codecDecodeInt4 JOIN(decodeInt4, LEVEL)
#define CKernels_codecAdd JOIN(add, LEVEL)
#define CKernels_codecDivide JOIN(divide, LEVEL)
#define CKernels_codecMean JOIN(mean, LEVEL)
#define CKernels_codecAddQuotients JOIN(addQuotients, LEVEL)
#define CKernels_roundToBFloat16 JOIN(roundToBFloat16, LEVEL)
#define CKernels_scaleToBFloat16 JOIN(scaleToBFloat16, LEVEL)
#define CKernels_transposeToBFloat16 JOIN(transposeToBFloat16, LEVEL)
#define CKernels_transpose JOIN(transpose, LEVEL)

#include "include/KernelLevels.h"

#include "bfloat16.c"
#include "codec.c"
#include "update.c"

KernelLevel JOIN(KernelLevels, LEVEL)(void) {
  KernelLevel level = {
      .name = LEVEL_STRING(LEVEL),
      .isSupported = LEVEL_SUPPORTED,
      .sumOfSquares = CKernels_sumOfSquares,
      .adam = CKernels_adam,
      .momentum = CKernels_momentum,
      .encodeBFloat16 = CKernels_codecEncodeBFloat16,
      .decodeBFloat16 = CKernels_codecDecodeBFloat16,
      .encodeInt8 = CKernels_codecEncodeInt8,
      .decodeInt8 = CKernels_codecDecodeInt8,
      .encodeInt4 = CKernels_codecEncodeInt4,
      .decodeInt4 = CKernels_codecDecodeInt4,
      .add = CKernels_codecAdd,
      .divide = CKernels_codecDivide,
      .mean = CKernels_codecMean,
      .addQuotients = CKernels_codecAddQuotients,
      .roundToBFloat16 = CKernels_roundToBFloat16,
  };
  return level;
}
