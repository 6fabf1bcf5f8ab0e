#pragma once

#include <stddef.h>
#include <stdint.h>

/// XXH64 of `byteCount` bytes (Collet's xxHash, 64-bit variant).
uint64_t CKernels_xxh64(const void *bytes, size_t byteCount, uint64_t seed);

/// The state of a streaming XXH64; `CKernels_xxh64Start` fills it.
typedef struct {
  uint64_t lanes[4];
  uint64_t totalByteCount;
  uint64_t seed;
  uint8_t pending[32];
  uint32_t pendingByteCount;
} CKernels_XXH64State;

void CKernels_xxh64Start(CKernels_XXH64State *state, uint64_t seed);
void CKernels_xxh64Update(CKernels_XXH64State *state, const void *bytes, size_t byteCount);
uint64_t CKernels_xxh64Finish(const CKernels_XXH64State *state);
