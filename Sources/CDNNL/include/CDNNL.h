#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// oneDNN's matrix products behind types that are the same for its versions 2 and 3: their C interfaces differ, and so
// dnnl.h is included by CDNNL.c alone.
//
// Functions that return an int return the library's status, zero for success.

typedef struct dnnl_engine *CDNNL_Engine;
typedef struct dnnl_stream *CDNNL_Stream;
/// A prepared operation, from which primitives are created.
typedef struct dnnl_primitive_desc *CDNNL_Operation;
/// Shape, element type and layout of a matrix.
typedef struct CDNNL_description *CDNNL_Description;
/// An executable operation with its arguments.
typedef struct CDNNL_primitive *CDNNL_Primitive;

typedef enum { CDNNL_float32, CDNNL_bfloat16 } CDNNL_Type;

/// The matrices of an operation: a product has a source, weights and a destination, a reorder a source and a destination.
typedef enum { CDNNL_source, CDNNL_weights, CDNNL_destination, CDNNL_scratch } CDNNL_Role;

/// Where the matrices of an execution are.
typedef struct {
  void *source, *weights, *destination, *scratch;
} CDNNL_Data;

typedef struct {
  int major, minor, patch;
} CDNNL_Version;

CDNNL_Version CDNNL_version(void);

/// Whether the instructions that the library may use have products of this type, vectors of AVX2 or AVX-512 bf16 at least.
bool CDNNL_canMultiply(CDNNL_Type type);

/// The instruction set that the library may use, as oneDNN names it. For one that is newer than its headers were, the
/// largest known one that it includes.
const char *CDNNL_instructionSet(void);

/// Limits the parallel regions that the calling thread starts; oneDNN is built on OpenMP.
void CDNNL_limitThreads(int count);

int CDNNL_createEngine(CDNNL_Engine *engine);
void CDNNL_destroyEngine(CDNNL_Engine engine);
int CDNNL_createStream(CDNNL_Stream *stream, CDNNL_Engine engine);
void CDNNL_destroyStream(CDNNL_Stream stream);

/// Describes a matrix by strides, which count elements.
int CDNNL_describeMatrix(CDNNL_Description *description, int64_t rowCount, int64_t columnCount, int64_t rowStride,
                         int64_t columnStride, CDNNL_Type type);
/// Describes a matrix whose layout oneDNN chooses.
int CDNNL_describePackedMatrix(CDNNL_Description *description, int64_t rowCount, int64_t columnCount, CDNNL_Type type);
/// The description that an operation chose for one of its matrices; the caller destroys it.
int CDNNL_copyDescription(CDNNL_Description *description, CDNNL_Operation operation, CDNNL_Role role);
void CDNNL_destroyDescription(CDNNL_Description description);
size_t CDNNL_byteCount(CDNNL_Description description);

/// The status of a call where there is no memory.
extern const int CDNNL_outOfMemory;

/// destination = source · weights, or destination += source · weights. The caller provides the scratch memory.
int CDNNL_createProduct(CDNNL_Operation *operation, CDNNL_Engine engine, CDNNL_Description source,
                        CDNNL_Description weights, CDNNL_Description destination, bool adding);
/// Converts layout and element type.
int CDNNL_createReorder(CDNNL_Operation *operation, CDNNL_Engine engine, CDNNL_Description source,
                        CDNNL_Description destination);
void CDNNL_destroyOperation(CDNNL_Operation operation);
size_t CDNNL_scratchByteCount(CDNNL_Operation operation);

/// An executable of an operation, whose arguments are the matrices with these roles.
int CDNNL_createPrimitive(CDNNL_Primitive *primitive, CDNNL_Engine engine, CDNNL_Operation operation,
                          const CDNNL_Role *roles, int count);
void CDNNL_destroyPrimitive(CDNNL_Primitive primitive);
int CDNNL_execute(CDNNL_Primitive primitive, CDNNL_Stream stream, CDNNL_Data data);
