#pragma once

/// Hints to the processor that the calling thread spins.
static inline void CKernels_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}
