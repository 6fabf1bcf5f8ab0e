#define LEVEL v2
#if defined(__x86_64__)
#define LEVEL_ATTRIBUTE __attribute__((target("arch=x86-64")))
#define LEVEL_SUPPORTED true
#else
#define LEVEL_ATTRIBUTE
#define LEVEL_SUPPORTED true
#endif
#include "level.h"
