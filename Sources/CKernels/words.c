#include "CKernelsWords.h"
#include "clones.h"

#include <string.h>

/// Words whose slots are prefetched before the first of them is looked up, so that cache misses overlap.
enum { batchLength = 32, stripe = 64 };

typedef uint8_t Stripe __attribute__((vector_size(stripe)));
typedef bool Flags __attribute__((ext_vector_type(stripe)));

typedef struct {
  const uint8_t *start;
  uint64_t prefix;
  uint64_t hash;
  size_t idIndex;
  uint32_t byteCount;
} Word;

CKERNELS_INLINE uint64_t load64(const uint8_t *bytes) {
  uint64_t value;
  memcpy(&value, bytes, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  value = __builtin_bswap64(value);
#endif
  return value;
}

/// Bit i is whether byte i of `flags` is set. They are passed by address: the calling convention of vectors depends on the
/// CPU level.
CKERNELS_INLINE uint64_t bitsOf(const Stripe *flags) {
  Flags bits = __builtin_convertvector(*flags, Flags);
  uint64_t value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

CKERNELS_INLINE uint64_t fold(uint64_t value) {
  unsigned __int128 product = (unsigned __int128)value * 0x9E3779B97F4A7C15u;
  return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

CKERNELS_INLINE uint64_t hashOf(const uint8_t *start, size_t byteCount, uint64_t prefix) {
  uint64_t hash = fold(prefix ^ byteCount);
  if (byteCount <= 8) return hash;
  for (size_t i = 8; i + 8 < byteCount; i += 8) hash = fold(hash ^ load64(start + i));
  return fold(hash ^ load64(start + byteCount - 8));
}

CKERNELS_INLINE Word wordAt(const uint8_t *start, size_t byteCount, size_t idIndex) {
  uint64_t prefix = load64(start);
  if (byteCount < 8) prefix &= ~UINT64_C(0) >> (64 - 8 * byteCount);
  return (Word){start, prefix, hashOf(start, byteCount, prefix), idIndex, (uint32_t)byteCount};
}

/// Whether two words of one length, more than eight bytes, are equal beyond their first eight.
CKERNELS_INLINE bool haveEqualRests(const uint8_t *a, const uint8_t *b, size_t byteCount) {
  for (size_t i = 8; i + 8 < byteCount; i += 8)
    if (load64(a + i) != load64(b + i)) return false;
  return load64(a + byteCount - 8) == load64(b + byteCount - 8);
}

CKERNELS_INLINE CKernels_WordSlot *slotOf(const CKernels_WordTable *table, const Word *word) {
  for (uint64_t index = word->hash & table->slotMask;; index = (index + 1) & table->slotMask) {
    CKernels_WordSlot *slot = table->slots + index;
    if (slot->byteCount == 0) return slot;
    if (slot->prefix == word->prefix && slot->byteCount == word->byteCount
        && (word->byteCount <= 8
            || haveEqualRests(table->bytes + table->ends[slot->id], word->start, word->byteCount)))
      return slot;
  }
}

CKERNELS_INLINE void countWord(CKernels_WordTable *table, const Word *word, int32_t *ids) {
  CKernels_WordSlot *slot = slotOf(table, word);
  if (slot->byteCount == 0) {
    uint64_t id = table->wordCount++;
    uint64_t start = table->ends[id];
    *slot = (CKernels_WordSlot){word->prefix, word->byteCount, (int32_t)id};
    memcpy(table->bytes + start, word->start, word->byteCount);
    table->ends[id + 1] = start + word->byteCount;
    table->counts[id] = 0;
  }
  table->counts[slot->id]++;
  ids[word->idIndex] = slot->id;
}

CKERNELS_INLINE void findWord(const CKernels_WordTable *table, const Word *word, int32_t *ids) {
  const CKernels_WordSlot *slot = slotOf(table, word);
  ids[word->idIndex] = slot->byteCount == 0 ? CKernels_unknownID : slot->id;
}

CKERNELS_INLINE void resolve(CKernels_WordTable *table, const Word *words, size_t count, int32_t *ids, bool counting) {
  for (size_t i = 0; i < count; i++) {
    if (counting)
      countWord(table, words + i, ids);
    else
      findWord(table, words + i, ids);
  }
}

CKERNELS_INLINE bool takeApart(CKernels_WordTable *table, CKernels_TextCursor *cursor, bool counting) {
  const uint8_t *text = cursor->text;
  int32_t *ids = cursor->ids;
  size_t byteCount = cursor->byteCount, position = cursor->position, wordStart = cursor->wordStart;
  size_t idCount = cursor->idCount, lineCount = 0, loneReturnCount = 0, pendingCount = 0;
  Word pending[batchLength];
  bool hasRoom = true;
  // The byte after the text is white space and ends the last word.
  for (; position <= byteCount; position += stripe) {
    // No more than half the bytes of a stripe begin words.
    if (counting && table->wordCount + pendingCount + stripe > table->wordLimit) {
      hasRoom = false;
      break;
    }
    Stripe bytes;
    memcpy(&bytes, text + position, stripe);
    Stripe newlines = (Stripe)(bytes == '\n'), returns = (Stripe)(bytes == '\r');
    Stripe whiteSpace = (Stripe)(bytes == ' ') | (Stripe)(bytes - '\t' <= '\r' - '\t');
    uint64_t within = byteCount - position < stripe - 1 ? ~UINT64_C(0) >> (stripe - 1 - (byteCount - position))
                                                        : ~UINT64_C(0);
    uint64_t newlineBits = bitsOf(&newlines) & within;
    uint64_t ends = bitsOf(&whiteSpace) & within;
    uint64_t returnBits = bitsOf(&returns) & within;
    if (returnBits != 0) {
      // The byte after the stripe's last one is padding at worst.
      uint64_t beforeNewline = newlineBits >> 1 | (uint64_t)(text[position + stripe] == '\n') << (stripe - 1);
      loneReturnCount += (size_t)__builtin_popcountll(returnBits & ~beforeNewline);
    }
    lineCount += (size_t)__builtin_popcountll(newlineBits);
    for (; ends != 0; ends &= ends - 1) {
      unsigned bit = (unsigned)__builtin_ctzll(ends);
      size_t end = position + bit;
      if (end > wordStart) {
        Word word = wordAt(text + wordStart, end - wordStart, idCount++);
        __builtin_prefetch(table->slots + (word.hash & table->slotMask));
        pending[pendingCount++] = word;
        if (pendingCount == batchLength) {
          resolve(table, pending, pendingCount, ids, counting);
          pendingCount = 0;
        }
      }
      if (newlineBits >> bit & 1) ids[idCount++] = CKernels_lineEndID;
      wordStart = end + 1;
    }
  }
  resolve(table, pending, pendingCount, ids, counting);
  cursor->position = position;
  cursor->wordStart = wordStart;
  cursor->idCount = idCount;
  cursor->lineCount += lineCount;
  cursor->loneReturnCount += loneReturnCount;
  return hasRoom;
}

CKERNELS_CLONES bool CKernels_wordsCount(CKernels_WordTable *table, CKernels_TextCursor *cursor) {
  return takeApart(table, cursor, true);
}

CKERNELS_CLONES void CKernels_wordsFind(const CKernels_WordTable *table, CKernels_TextCursor *cursor) {
  // Nothing is written through it unless words are counted.
  takeApart((CKernels_WordTable *)table, cursor, false);
}

size_t CKernels_wordSlot(const CKernels_WordTable *table, const uint8_t *start, size_t byteCount) {
  uint8_t padded[8] = {0};
  Word word = {start, 0, 0, 0, (uint32_t)byteCount};
  memcpy(padded, start, byteCount < 8 ? byteCount : 8);
  word.prefix = load64(padded);
  word.hash = hashOf(start, byteCount, word.prefix);
  return (size_t)(slotOf(table, &word) - table->slots);
}

void CKernels_wordsPlace(CKernels_WordTable *table) {
  for (uint64_t id = 0; id < table->wordCount; id++) {
    uint64_t start = table->ends[id], byteCount = table->ends[id + 1] - start;
    size_t index = CKernels_wordSlot(table, table->bytes + start, byteCount);
    uint8_t padded[8] = {0};
    memcpy(padded, table->bytes + start, byteCount < 8 ? byteCount : 8);
    table->slots[index] = (CKernels_WordSlot){load64(padded), (uint32_t)byteCount, (int32_t)id};
  }
}
