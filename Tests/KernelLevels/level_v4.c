#define LEVEL v4
#if defined(__x86_64__)
#define LEVEL_ATTRIBUTE __attribute__((target("arch=x86-64-v4")))
#define LEVEL_SUPPORTED __builtin_cpu_supports("x86-64-v4")
#else
#define LEVEL_ATTRIBUTE
#define LEVEL_SUPPORTED true
#endif
#include "level.h"
