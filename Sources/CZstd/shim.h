#pragma once
#include <zstd.h>
#include <zstd_errors.h>

/// Huffman-codes what no match covers at negative levels too, where zstd leaves it as it is unless told.
/// zstd.h names this parameter (literal compression mode, 1 = always) only under ZSTD_STATIC_LINKING_ONLY.
static inline size_t CZstd_compressLiterals(ZSTD_CCtx *context) {
  return ZSTD_CCtx_setParameter(context, ZSTD_c_experimentalParam5, 1);
}
