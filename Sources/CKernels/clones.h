#pragma once

// One clone of a loop per x86-64 level, chosen by the loader; elsewhere the plain function. A test that compares the
// levels compiles the loops for one level at a time and defines this itself.
#if defined(CKERNELS_CLONES)
#elif defined(__x86_64__) && defined(__linux__)
#define CKERNELS_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CKERNELS_CLONES
#endif

#define CKERNELS_INLINE static inline __attribute__((always_inline))
