#include "CKernelsDenormals.h"

#if defined(__x86_64__)
#include <immintrin.h>

void CKernels_flushDenormals(void) {
  const unsigned flushToZero = 0x8000, denormalsAreZero = 0x0040;
  _mm_setcsr(_mm_getcsr() | flushToZero | denormalsAreZero);
}
#elif defined(__aarch64__)
#include <stdint.h>

void CKernels_flushDenormals(void) {
  const uint64_t flushToZero = 1ull << 24;
  uint64_t control;
  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  __asm__ volatile("msr fpcr, %0" : : "r"(control | flushToZero));
}
#else
void CKernels_flushDenormals(void) {}
#endif
