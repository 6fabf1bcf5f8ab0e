#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// A place in a table of words.
typedef struct {
  /// The first eight bytes of the word, the first one lowest, zeros where it is shorter.
  uint64_t prefix;
  /// Its length; 0 marks an empty slot, for no word is empty.
  uint32_t byteCount;
  /// The number of the word, from 0 in the order they came.
  int32_t id;
} CKernels_WordSlot;

/// Distinct words, found by open addressing with linear probing. Its owner makes the room; the loops only fill it.
typedef struct {
  CKernels_WordSlot *slots;
  /// The number of slots, a power of two, less 1.
  uint64_t slotMask;
  /// The words' bytes, one after the other.
  uint8_t *bytes;
  /// Where each word ends in `bytes`, from the second element on; the first is 0.
  uint64_t *ends;
  /// How often each word was counted.
  uint64_t *counts;
  uint64_t wordCount;
  /// How many words there is room for.
  uint64_t wordLimit;
} CKernels_WordTable;

enum {
  /// What stands for the end of a line among ids.
  CKernels_lineEndID = -1,
  /// What stands for a word that is not in the table.
  CKernels_unknownID = -2,
  /// How many bytes after the text are read too; the first of them must be white space.
  CKernels_wordsPadding = 64,
};

/// How far a text has been taken apart, and what was found in it. White space is ASCII's.
typedef struct {
  const uint8_t *text;
  size_t byteCount;
  /// Room for an id for every byte of the text.
  int32_t *ids;
  size_t idCount;
  size_t lineCount;
  /// Carriage returns that no line feed follows.
  size_t loneReturnCount;
  size_t position;
  size_t wordStart;
} CKernels_TextCursor;

/// Writes the ids of words and line ends from the cursor on, and counts every word; a word that is new gets the next id.
/// False when there is no room for further words in the table: make some and call again. There must always be room in
/// `bytes` for all that is left of the text.
bool CKernels_wordsCount(CKernels_WordTable *table, CKernels_TextCursor *cursor);

/// Writes the ids of words and line ends; the table stays as it is.
void CKernels_wordsFind(const CKernels_WordTable *table, CKernels_TextCursor *cursor);

/// The slot of a word, or the empty one where it belongs. At most one eight-byte load goes beyond the word's end.
size_t CKernels_wordSlot(const CKernels_WordTable *table, const uint8_t *word, size_t byteCount);

/// Puts the words into slots that were all empty.
void CKernels_wordsPlace(CKernels_WordTable *table);
