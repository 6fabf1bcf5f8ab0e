#pragma once
#include <cblas.h>

/// Ends OpenBLAS's threads; it starts new ones when it next needs them. The library exports it without declaring it.
void blas_thread_shutdown_(void);
