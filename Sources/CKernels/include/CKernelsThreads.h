#pragma once

/// Tells the processor that the calling thread waits for another one in a loop.
static inline void CKernels_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}
