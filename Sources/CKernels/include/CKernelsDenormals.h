#pragma once

/// Makes the calling thread treat denormal floats as zero, as operands and as results: x86 handles them in microcode,
/// up to a hundred times slower, and the small values of an LSTM reach them.
void CKernels_flushDenormals(void);
