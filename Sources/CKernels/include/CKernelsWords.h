#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// A slot of a word table.
typedef struct {
  /// The first eight bytes of the word, the first one lowest, padded with zeros.
  uint64_t prefix;
  /// Its length; 0 marks an empty slot, as no word is empty.
  uint32_t byteCount;
  /// The index of the word, in the order of first occurrence.
  int32_t id;
} CKernels_WordSlot;

/// Distinct words, found by open addressing with linear probing. Its owner allocates; the loops only fill it.
typedef struct {
  CKernels_WordSlot *slots;
  /// The number of slots, a power of two, minus 1.
  uint64_t slotMask;
  /// The words' bytes, concatenated.
  uint8_t *bytes;
  /// Where each word ends in `bytes`, from the second element on; the first is 0.
  uint64_t *ends;
  /// The count of each word.
  uint64_t *counts;
  uint64_t wordCount;
  /// The capacity in words.
  uint64_t wordLimit;
} CKernels_WordTable;

enum {
  /// The id of the end of a line.
  CKernels_lineEndID = -1,
  /// The id of a word that is not in the table.
  CKernels_unknownID = -2,
  /// The number of bytes after the text that may be read; the first of them must be white space.
  CKernels_wordsPadding = 64,
};

/// The progress of tokenizing a text, and its counts. White space is ASCII's.
typedef struct {
  const uint8_t *text;
  size_t byteCount;
  /// Room for an id for every byte of the text.
  int32_t *ids;
  size_t idCount;
  size_t lineCount;
  /// Carriage returns without a line feed.
  size_t loneReturnCount;
  size_t position;
  size_t wordStart;
} CKernels_TextCursor;

/// Writes the ids of words and line ends from the cursor on, and counts every word; a word that is new gets the next id.
/// Returns false when the table is full: enlarge it and call again. `bytes` must have room for the rest of the text.
bool CKernels_wordsCount(CKernels_WordTable *table, CKernels_TextCursor *cursor);

/// Writes the ids of words and line ends; does not change the table.
void CKernels_wordsFind(const CKernels_WordTable *table, CKernels_TextCursor *cursor);

/// The slot of a word, or the empty one where it belongs. At most one eight-byte load extends beyond the word's end.
size_t CKernels_wordSlot(const CKernels_WordTable *table, const uint8_t *word, size_t byteCount);

/// Inserts the words into empty slots.
void CKernels_wordsPlace(CKernels_WordTable *table);
