#include "CKernelsDenormals.h"

#if defined(__x86_64__)
#include <immintrin.h>

void CKernels_flushDenormals(void) {
  // Flush-to-zero (bit 15) and denormals-are-zero (bit 6).
  _mm_setcsr(_mm_getcsr() | 0x8040);
}
#elif defined(__aarch64__)
#include <stdint.h>

void CKernels_flushDenormals(void) {
  uint64_t control;
  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  __asm__ volatile("msr fpcr, %0" : : "r"(control | (1ULL << 24)));
}
#else
void CKernels_flushDenormals(void) {}
#endif
