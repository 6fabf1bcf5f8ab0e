#pragma once

// The module's public headers, one a subject.
#include "CKernelsCodec.h"
#include "CKernelsDenormals.h"
#include "CKernelsHash.h"
#include "CKernelsLayers.h"
#include "CKernelsUpdate.h"
