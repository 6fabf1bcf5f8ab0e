#pragma once

// The module's public headers, one a subject.
#include "CKernelsHash.h"
