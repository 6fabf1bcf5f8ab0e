#include "CKernelsHash.h"

#include <string.h>

// xxHash's 64-bit variant, from its specification
// (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).

static const uint64_t prime1 = 0x9E3779B185EBCA87ULL;
static const uint64_t prime2 = 0xC2B2AE3D27D4EB4FULL;
static const uint64_t prime3 = 0x165667B19E3779F9ULL;
static const uint64_t prime4 = 0x85EBCA77C2B2AE63ULL;
static const uint64_t prime5 = 0x27D4EB2F165667C5ULL;

static inline uint64_t rotateLeft(uint64_t x, int count) { return (x << count) | (x >> (64 - count)); }

static inline uint64_t read64(const uint8_t *bytes) {
  uint64_t value;
  memcpy(&value, bytes, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  value = __builtin_bswap64(value);
#endif
  return value;
}

static inline uint32_t read32(const uint8_t *bytes) {
  uint32_t value;
  memcpy(&value, bytes, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  value = __builtin_bswap32(value);
#endif
  return value;
}

static inline uint64_t round64(uint64_t lane, uint64_t input) {
  return rotateLeft(lane + input * prime2, 31) * prime1;
}

static inline uint64_t mergeLane(uint64_t hash, uint64_t lane) {
  return (hash ^ round64(0, lane)) * prime1 + prime4;
}

static const uint8_t *consumeStripes(uint64_t lanes[4], const uint8_t *bytes, size_t stripeCount) {
  uint64_t a = lanes[0], b = lanes[1], c = lanes[2], d = lanes[3];
  for (size_t i = 0; i < stripeCount; i++, bytes += 32) {
    a = round64(a, read64(bytes));
    b = round64(b, read64(bytes + 8));
    c = round64(c, read64(bytes + 16));
    d = round64(d, read64(bytes + 24));
  }
  lanes[0] = a, lanes[1] = b, lanes[2] = c, lanes[3] = d;
  return bytes;
}

void CKernels_xxh64Start(CKernels_XXH64State *state, uint64_t seed) {
  memset(state, 0, sizeof *state);
  state->seed = seed;
  state->lanes[0] = seed + prime1 + prime2;
  state->lanes[1] = seed + prime2;
  state->lanes[2] = seed;
  state->lanes[3] = seed - prime1;
}

void CKernels_xxh64Update(CKernels_XXH64State *state, const void *bytes, size_t byteCount) {
  const uint8_t *next = bytes;
  state->totalByteCount += byteCount;
  if (state->pendingByteCount > 0) {
    size_t missing = 32 - state->pendingByteCount;
    size_t taken = byteCount < missing ? byteCount : missing;
    memcpy(state->pending + state->pendingByteCount, next, taken);
    state->pendingByteCount += (uint32_t)taken;
    next += taken;
    byteCount -= taken;
    if (state->pendingByteCount < 32) return;
    consumeStripes(state->lanes, state->pending, 1);
    state->pendingByteCount = 0;
  }
  next = consumeStripes(state->lanes, next, byteCount / 32);
  state->pendingByteCount = (uint32_t)(byteCount % 32);
  memcpy(state->pending, next, state->pendingByteCount);
}

uint64_t CKernels_xxh64Finish(const CKernels_XXH64State *state) {
  const uint64_t *lanes = state->lanes;
  uint64_t hash;
  if (state->totalByteCount >= 32) {
    hash = rotateLeft(lanes[0], 1) + rotateLeft(lanes[1], 7) + rotateLeft(lanes[2], 12) + rotateLeft(lanes[3], 18);
    for (int i = 0; i < 4; i++) hash = mergeLane(hash, lanes[i]);
  } else {
    hash = state->seed + prime5;
  }
  hash += state->totalByteCount;

  const uint8_t *next = state->pending;
  const uint8_t *end = next + state->pendingByteCount;
  for (; next + 8 <= end; next += 8) hash = rotateLeft(hash ^ round64(0, read64(next)), 27) * prime1 + prime4;
  if (next + 4 <= end) {
    hash = rotateLeft(hash ^ (read32(next) * prime1), 23) * prime2 + prime3;
    next += 4;
  }
  for (; next < end; next++) hash = rotateLeft(hash ^ (*next * prime5), 11) * prime1;

  hash = (hash ^ (hash >> 33)) * prime2;
  hash = (hash ^ (hash >> 29)) * prime3;
  return hash ^ (hash >> 32);
}

uint64_t CKernels_xxh64(const void *bytes, size_t byteCount, uint64_t seed) {
  CKernels_XXH64State state;
  CKernels_xxh64Start(&state, seed);
  CKernels_xxh64Update(&state, bytes, byteCount);
  return CKernels_xxh64Finish(&state);
}
