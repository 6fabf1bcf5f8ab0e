#pragma once

/// Sets the calling thread to treat denormal floats as zero, as operands and as results; threads it
/// starts inherit that on Linux. x86 handles denormals in microcode, up to a hundred times slower, and the small values of an
/// LSTM reach them (oneDNN#561, OpenBLAS#1237).
void CKernels_flushDenormals(void);
