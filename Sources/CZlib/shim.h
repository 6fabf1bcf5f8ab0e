#pragma once
#include <zlib.h>

/// Wrapper around inflateInit2, a macro that Swift does not see. `windowBits` tells the format: -15 for bare deflate,
/// 15 + 16 for gzip.
static inline int CZlib_inflateInit(z_stream *stream, int windowBits) { return inflateInit2(stream, windowBits); }
