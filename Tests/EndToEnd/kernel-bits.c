// Prints a hash of what each C kernel computes that must give the same bits on all processors, for kernel-bits.sh.

#include "CKernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Long enough for whole vectors, half vectors and single elements.
enum { count = 5003, blockLength = 256, blockCount = (count + blockLength - 1) / blockLength };

// SplitMix64 (Steele, Lea and Flood 2014).
static uint64_t next(uint64_t *state) {
  uint64_t z = *state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

// Numbers of all magnitudes, zeros of both signs and denormals.
static void fill(float *numbers, uint64_t seed) {
  for (int index = 0; index < count; index++) {
    uint64_t bits = next(&seed);
    float fraction = ldexpf((float)(bits & 0xFFFFFF), -23) - 1;
    float value = ldexpf(fraction, (int)(bits >> 32) % 60 - 40);
    numbers[index] = index % 97 == 0 ? 0 : index % 89 == 0 ? -0.0f : index % 83 == 0 ? 1e-41f : value;
  }
}

static float values[count], residual[count], terms[count], remainders[count], decoded[count];

static void refill(void) {
  fill(values, 1);
  fill(residual, 2);
  fill(terms, 3);
  memset(remainders, 0, sizeof remainders);
  memset(decoded, 0, sizeof decoded);
}

// FNV-1a over several arrays; a line is printed with `finish`.
static uint64_t digest;

static void add(const void *bytes, size_t byteCount) {
  for (size_t index = 0; index < byteCount; index++)
    digest = (digest ^ ((const uint8_t *)bytes)[index]) * 0x100000001B3u;
}

static void finish(const char *name) {
  printf("%-22s %016llx\n", name, (unsigned long long)digest);
  digest = 0xCBF29CE484222325u;
  refill();
}

static void updates(void) {
  float squares[count];
  for (int index = 0; index < count; index++) squares[index] = terms[index] * terms[index];
  CKernels_Adam settings = {1e-3f, 0.37f, 1e-5f, 0.9f, 0.999f, 1.11f, 3.3f, 1e-8f};
  CKernels_adam(values, residual, terms, squares, count, &settings);
  add(values, sizeof values);
  add(terms, sizeof terms);
  add(squares, sizeof squares);
  finish("adam");
  CKernels_momentum(values, residual, terms, count, 0.1f, 0.37f, 0.9f, 1e-5f);
  add(values, sizeof values);
  add(terms, sizeof terms);
  finish("momentum");
  double sum = CKernels_sumOfSquares(values, count);
  add(&sum, sizeof sum);
  finish("sum of squares");
}

static void codecs(void) {
  static uint8_t bytes[4 * count + blockLength];
  float scales[blockCount];
  memset(bytes, 0, sizeof bytes);
  CKernels_codecSplitPlanes(values, count, bytes);
  CKernels_codecJoinPlanes(bytes, count, decoded);
  add(bytes, sizeof bytes);
  add(decoded, sizeof decoded);
  finish("planes of fp32");
  CKernels_codecEncodeBFloat16(values, residual, count, bytes, remainders);
  CKernels_codecDecodeBFloat16(bytes, count, decoded);
  add(bytes, 2 * count);
  add(remainders, sizeof remainders);
  add(decoded, sizeof decoded);
  finish("bfloat16 codec");
  for (int withInfinity = 0; withInfinity < 2; withInfinity++) {
    if (withInfinity)
      values[700] = INFINITY;
    CKernels_codecEncodeInt8(values, residual, count, blockLength, scales, (int8_t *)bytes, remainders);
    CKernels_codecDecodeInt8(scales, (int8_t *)bytes, withInfinity ? 0 : count, blockLength, decoded);
    // The code of a block without a scale is not part of the promise.
    add(bytes, withInfinity ? 0 : count);
    for (int block = 0; block < blockCount; block++)
      if (!isnan(scales[block]))
        add(&scales[block], sizeof(float));
    add(remainders, sizeof remainders);
    add(decoded, sizeof decoded);
    finish(withInfinity ? "int8 with infinity" : "int8 codec");
  }
  CKernels_codecEncodeInt4(values, residual, count, blockLength, scales, bytes, remainders);
  CKernels_codecDecodeInt4(scales, bytes, count, blockLength, decoded);
  add(bytes, count / 2);
  add(scales, sizeof scales);
  add(remainders, sizeof remainders);
  add(decoded, sizeof decoded);
  finish("int4 codec");
}

static void sums(void) {
  CKernels_codecAdd(values, terms, count);
  CKernels_codecAddQuotients(values, residual, 3, count);
  CKernels_codecDivide(values, 7, count);
  add(values, sizeof values);
  finish("sums of frames");
  CKernels_codecMean(values, terms, 3, decoded, count);
  add(decoded, sizeof decoded);
  finish("mean of frames");
}

static void roundings(void) {
  uint16_t rounded[count];
  CKernels_roundToBFloat16(values, count, rounded);
  add(rounded, sizeof rounded);
  CKernels_scaleToBFloat16(values, 0.37f, count, rounded);
  add(rounded, sizeof rounded);
  CKernels_transposeToBFloat16(values, 50, 90, 100, rounded);
  add(rounded, sizeof *rounded * 50 * 90);
  finish("bfloat16 rounding");
}

static void randomNumbers(void) {
  CKernels_dropout(values, count, 0x1234567, 99, 0.6f);
  add(values, sizeof values);
  finish("dropout");
  CKernels_uniform(values, count, 0x1234567, 99, 0.05f);
  add(values, sizeof values);
  finish("uniform");
  CKernels_normal(values, count, 0x1234567, 99, 1.0f, 0.02f);
  add(values, sizeof values);
  finish("normal");
}

static void hashes(void) {
  for (size_t byteCount = 0; byteCount < 200; byteCount++) {
    uint64_t hash = CKernels_xxh64(values, byteCount, byteCount);
    add(&hash, sizeof hash);
  }
  CKernels_XXH64State state;
  CKernels_xxh64Start(&state, 5);
  for (size_t start = 0, length = 1; start + length < sizeof values; start += length, length = length * 7 % 101)
    CKernels_xxh64Update(&state, (const char *)values + start, length);
  uint64_t hash = CKernels_xxh64Finish(&state);
  add(&hash, sizeof hash);
  finish("xxh64");
}

static void words(void) {
  enum { byteCount = 40000, slotCount = 1 << 15, wordLimit = slotCount / 2 };
  static char text[byteCount + CKernels_wordsPadding + 1];
  static int32_t ids[byteCount];
  static CKernels_WordSlot slots[slotCount];
  static uint8_t bytes[byteCount];
  static uint64_t ends[wordLimit + 1], counts[wordLimit];
  uint64_t seed = 7;
  for (size_t index = 0; index < sizeof text; index++) {
    uint64_t draw = next(&seed);
    text[index] = index >= byteCount || draw % 5 == 0 ? " \n\t  "[draw >> 32 & 3] : "abcde\xC3\xA9z"[draw >> 32 & 7];
  }
  text[byteCount] = '\n';
  CKernels_WordTable table = {slots, slotCount - 1, bytes, ends, counts, 0, wordLimit};
  CKernels_TextCursor cursor = {.text = (const uint8_t *)text, .byteCount = byteCount, .ids = ids};
  if (!CKernels_wordsCount(&table, &cursor))
    exit(1);
  add(ids, cursor.idCount * sizeof *ids);
  add(counts, table.wordCount * sizeof *counts);
  finish("words");
}

int main(int argumentCount, char **arguments) {
  // Compute threads flush denormals.
  if (argumentCount > 1 && strcmp(arguments[1], "flush") == 0)
    CKernels_flushDenormals();
  digest = 0xCBF29CE484222325u;
  refill();
  updates();
  codecs();
  sums();
  roundings();
  randomNumbers();
  hashes();
  words();
}
