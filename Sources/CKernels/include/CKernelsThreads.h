#pragma once
#include <sys/prctl.h>

/// Hints to the processor that the calling thread spins.
static inline void CKernels_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// Names the calling thread; the kernel takes 15 bytes.
static inline void CKernels_nameThread(const char *name) {
  prctl(PR_SET_NAME, name);
}
