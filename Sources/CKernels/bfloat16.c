#include "CKernelsBFloat16.h"
#include "bfloat16.h"

CKERNELS_CLONES
void CKernels_roundToBFloat16(const float *restrict values, size_t count, uint16_t *restrict rounded) {
  for (size_t i = 0; i < count; i++) rounded[i] = (uint16_t)roundToBFloat16(bitsOf(values[i]));
}

CKERNELS_CLONES
void CKernels_scaleToBFloat16(const float *restrict values, float scale, size_t count, uint16_t *restrict rounded) {
  for (size_t i = 0; i < count; i++) rounded[i] = (uint16_t)roundToBFloat16(bitsOf(scale * values[i]));
}

#define TILE 32

// A tile is read along its rows and written along its columns, so both sides move whole cache lines.
#define TRANSPOSE(ELEMENT, CONVERT, TARGET)                                                              \
  ELEMENT tile[TILE][TILE];                                                                              \
  for (size_t column = 0; column < columnCount; column += TILE)                                          \
    for (size_t row = 0; row < rowCount; row += TILE) {                                                  \
      size_t height = rowCount - row < TILE ? rowCount - row : TILE;                                     \
      size_t width = columnCount - column < TILE ? columnCount - column : TILE;                          \
      for (size_t i = 0; i < height; i++)                                                                \
        for (size_t j = 0; j < width; j++) tile[j][i] = CONVERT(matrix[(row + i) * stride + column + j]); \
      for (size_t j = 0; j < width; j++)                                                                 \
        memcpy(TARGET + (column + j) * rowCount + row, tile[j], height * sizeof(ELEMENT));               \
    }

#define ROUNDED(x) ((uint16_t)roundToBFloat16(bitsOf(x)))
#define UNCHANGED(x) (x)

CKERNELS_CLONES
void CKernels_transposeToBFloat16(const float *restrict matrix, size_t rowCount, size_t columnCount, size_t stride,
                                  uint16_t *restrict rounded) {
  TRANSPOSE(uint16_t, ROUNDED, rounded)
}

CKERNELS_CLONES
void CKernels_transpose(const float *restrict matrix, size_t rowCount, size_t columnCount, size_t stride,
                        float *restrict transposed) {
  TRANSPOSE(float, UNCHANGED, transposed)
}
