#pragma once

/// Makes the calling thread read and write denormal numbers as zero; threads it starts inherit that on Linux.
/// Denormals in an LSTM's gates slow it many times (oneDNN#561, OpenBLAS#1237).
void CKernels_flushDenormals(void);
