#pragma once

// The module's public headers, one per subject.
#include "CKernelsBFloat16.h"
#include "CKernelsCodec.h"
#include "CKernelsDenormals.h"
#include "CKernelsHash.h"
#include "CKernelsInstructions.h"
#include "CKernelsLayers.h"
#include "CKernelsSoftmax.h"
#include "CKernelsThreads.h"
#include "CKernelsUpdate.h"
#include "CKernelsWords.h"
