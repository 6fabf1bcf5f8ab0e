#include "CDNNL.h"

#include <stdlib.h>

#if !__has_include(<dnnl.h>)
#error "expected dnnl.h in MILM_ONEDNN/include or the system's, found none: run cluster/install.sh, or build with --manifest-cache none"
#endif
#include <dnnl.h>

const int CDNNL_outOfMemory = dnnl_out_of_memory;

// The rest of the file would be a screen of errors.
#if DNNL_VERSION_MAJOR != 2 && DNNL_VERSION_MAJOR != 3
#error "milm needs oneDNN 2 or 3, found another version: install libdnnl-dev, or build with MILM_WITHOUT_ONEDNN=1"
#else

// OpenMP's header is not always installed with oneDNN.
void omp_set_num_threads(int count);

// ---------------------------------------------------------------- descriptions

// Version 2 has a structure that its user owns, version 3 a pointer to one of its own.
#if DNNL_VERSION_MAJOR == 2
typedef const dnnl_memory_desc_t *Layout;
#else
typedef const_dnnl_memory_desc_t Layout;
#endif

static Layout layout(CDNNL_Description description) { return (Layout)description; }

#if DNNL_VERSION_MAJOR == 2
static int copy(CDNNL_Description *description, Layout existing) {
  dnnl_memory_desc_t *own = malloc(sizeof *own);
  if (!own)
    return dnnl_out_of_memory;
  *own = *existing;
  *description = (CDNNL_Description)own;
  return dnnl_success;
}

void CDNNL_destroyDescription(CDNNL_Description description) { free(description); }
#else
static int copy(CDNNL_Description *description, Layout existing) {
  return dnnl_memory_desc_clone((dnnl_memory_desc_t *)description, existing);
}

void CDNNL_destroyDescription(CDNNL_Description description) {
  dnnl_memory_desc_destroy((dnnl_memory_desc_t)description);
}
#endif

static dnnl_data_type_t dataType(CDNNL_Type type) { return type == CDNNL_bfloat16 ? dnnl_bf16 : dnnl_f32; }

int CDNNL_describeMatrix(CDNNL_Description *description, int64_t rowCount, int64_t columnCount, int64_t rowStride,
                         int64_t columnStride, CDNNL_Type type) {
  dnnl_dims_t sizes = {rowCount, columnCount}, strides = {rowStride, columnStride};
#if DNNL_VERSION_MAJOR == 2
  dnnl_memory_desc_t own;
  int status = dnnl_memory_desc_init_by_strides(&own, 2, sizes, dataType(type), strides);
  return status == dnnl_success ? copy(description, &own) : status;
#else
  return dnnl_memory_desc_create_with_strides((dnnl_memory_desc_t *)description, 2, sizes, dataType(type), strides);
#endif
}

int CDNNL_describePackedMatrix(CDNNL_Description *description, int64_t rowCount, int64_t columnCount,
                               CDNNL_Type type) {
  dnnl_dims_t sizes = {rowCount, columnCount};
#if DNNL_VERSION_MAJOR == 2
  dnnl_memory_desc_t own;
  int status = dnnl_memory_desc_init_by_tag(&own, 2, sizes, dataType(type), dnnl_format_tag_any);
  return status == dnnl_success ? copy(description, &own) : status;
#else
  return dnnl_memory_desc_create_with_tag((dnnl_memory_desc_t *)description, 2, sizes, dataType(type),
                                          dnnl_format_tag_any);
#endif
}

enum { roleCount = CDNNL_scratch + 1 };

// The query and the argument of a role. A reorder's are those of a product: DNNL_ARG_FROM is DNNL_ARG_SRC, and so on.
static const struct {
  dnnl_query_t query;
  int argument;
} roleTable[roleCount] = {
    [CDNNL_source] = {dnnl_query_src_md, DNNL_ARG_SRC},
    [CDNNL_weights] = {dnnl_query_weights_md, DNNL_ARG_WEIGHTS},
    [CDNNL_destination] = {dnnl_query_dst_md, DNNL_ARG_DST},
    [CDNNL_scratch] = {dnnl_query_scratchpad_md, DNNL_ARG_SCRATCHPAD},
};

// Borrowed from the operation.
static Layout layoutOf(CDNNL_Operation operation, CDNNL_Role role) {
  return dnnl_primitive_desc_query_md(operation, roleTable[role].query, 0);
}

int CDNNL_copyDescription(CDNNL_Description *description, CDNNL_Operation operation, CDNNL_Role role) {
  return copy(description, layoutOf(operation, role));
}

size_t CDNNL_byteCount(CDNNL_Description description) { return dnnl_memory_desc_get_size(layout(description)); }

size_t CDNNL_scratchByteCount(CDNNL_Operation operation) {
  return dnnl_memory_desc_get_size(layoutOf(operation, CDNNL_scratch));
}

// ---------------------------------------------------------------- operations

static int productOperation(CDNNL_Operation *operation, CDNNL_Engine engine, Layout source, Layout weights,
                            Layout destination, dnnl_primitive_attr_t attributes) {
#if DNNL_VERSION_MAJOR == 2
  dnnl_matmul_desc_t product;
  int status = dnnl_matmul_desc_init(&product, source, weights, NULL, destination);
  return status == dnnl_success ? dnnl_primitive_desc_create(operation, &product, attributes, engine, NULL) : status;
#else
  return dnnl_matmul_primitive_desc_create(operation, engine, source, weights, NULL, destination, attributes);
#endif
}

static int appendSum(dnnl_post_ops_t operations) {
#if DNNL_VERSION_MAJOR == 2
  return dnnl_post_ops_append_sum(operations, 1);
#else
  return dnnl_post_ops_append_sum(operations, 1, 0, dnnl_data_type_undef);
#endif
}

int CDNNL_createProduct(CDNNL_Operation *operation, CDNNL_Engine engine, CDNNL_Description source,
                        CDNNL_Description weights, CDNNL_Description destination, bool adding) {
  dnnl_primitive_attr_t attributes = NULL;
  dnnl_post_ops_t operations = NULL;
  int status = dnnl_primitive_attr_create(&attributes);
  if (!status)
    status = dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
  if (!status && adding) {
    status = dnnl_post_ops_create(&operations);
    if (!status)
      status = appendSum(operations);
    if (!status)
      status = dnnl_primitive_attr_set_post_ops(attributes, operations);
  }
  if (!status)
    status = productOperation(operation, engine, layout(source), layout(weights), layout(destination), attributes);
  dnnl_post_ops_destroy(operations);
  dnnl_primitive_attr_destroy(attributes);
  return status;
}

int CDNNL_createReorder(CDNNL_Operation *operation, CDNNL_Engine engine, CDNNL_Description source,
                        CDNNL_Description destination) {
  return dnnl_reorder_primitive_desc_create(operation, layout(source), engine, layout(destination), engine, NULL);
}

void CDNNL_destroyOperation(CDNNL_Operation operation) { dnnl_primitive_desc_destroy(operation); }

// ---------------------------------------------------------------- primitives

struct CDNNL_primitive {
  dnnl_primitive_t primitive;
  int count;
  CDNNL_Role roles[roleCount];
  dnnl_exec_arg_t arguments[roleCount];
};

int CDNNL_createPrimitive(CDNNL_Primitive *primitive, CDNNL_Engine engine, CDNNL_Operation operation,
                          const CDNNL_Role *roles, int count) {
  if (count > roleCount)
    return dnnl_invalid_arguments;
  CDNNL_Primitive created = calloc(1, sizeof *created);
  if (!created)
    return dnnl_out_of_memory;
  int status = dnnl_primitive_create(&created->primitive, operation);
  while (!status && created->count < count) {
    dnnl_exec_arg_t *argument = &created->arguments[created->count];
    CDNNL_Role role = created->roles[created->count] = roles[created->count];
    argument->arg = roleTable[role].argument;
    status = dnnl_memory_create(&argument->memory, layoutOf(operation, role), engine, DNNL_MEMORY_NONE);
    if (!status)
      created->count++;
  }
  if (!status)
    *primitive = created;
  else
    CDNNL_destroyPrimitive(created);
  return status;
}

void CDNNL_destroyPrimitive(CDNNL_Primitive primitive) {
  for (int index = 0; index < primitive->count; index++)
    dnnl_memory_destroy(primitive->arguments[index].memory);
  dnnl_primitive_destroy(primitive->primitive);
  free(primitive);
}

static int setData(dnnl_memory_t memory, void *data, dnnl_stream_t stream) {
#if DNNL_VERSION_MAJOR == 2
  return dnnl_memory_set_data_handle_v2(memory, data, stream);
#else
  (void)stream;
  return dnnl_memory_set_data_handle(memory, data);
#endif
}

int CDNNL_execute(CDNNL_Primitive primitive, CDNNL_Stream stream, CDNNL_Data data) {
  void *const byRole[roleCount] = {
      [CDNNL_source] = data.source,
      [CDNNL_weights] = data.weights,
      [CDNNL_destination] = data.destination,
      [CDNNL_scratch] = data.scratch,
  };
  for (int index = 0; index < primitive->count; index++) {
    int status = setData(primitive->arguments[index].memory, byRole[primitive->roles[index]], stream);
    if (status)
      return status;
  }
  return dnnl_primitive_execute(primitive->primitive, stream, primitive->count, primitive->arguments);
}

// ---------------------------------------------------------------- the library

CDNNL_Version CDNNL_version(void) {
  const dnnl_version_t *version = dnnl_version();
  return (CDNNL_Version){version->major, version->minor, version->patch};
}

static bool includes(dnnl_cpu_isa_t set, dnnl_cpu_isa_t part) { return (set & part) == part; }

bool CDNNL_canMultiply(CDNNL_Type type) {
  return includes(dnnl_get_effective_cpu_isa(),
                  type == CDNNL_bfloat16 ? dnnl_cpu_isa_avx512_core_bf16 : dnnl_cpu_isa_avx2);
}

const char *CDNNL_instructionSet(void) {
  // The largest first.
  static const struct {
    dnnl_cpu_isa_t set;
    const char *name;
  } names[] = {
#if DNNL_VERSION_MAJOR >= 3
      {dnnl_cpu_isa_avx512_core_amx_fp16, "avx512_core_amx_fp16"},
#endif
      {dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
#if DNNL_VERSION_MAJOR >= 3
      {dnnl_cpu_isa_avx512_core_fp16, "avx512_core_fp16"},
#endif
      {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
      {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
      {dnnl_cpu_isa_avx512_core, "avx512_core"},
#if DNNL_VERSION_MAJOR >= 3
      {dnnl_cpu_isa_avx2_vnni_2, "avx2_vnni_2"},
#endif
      {dnnl_cpu_isa_avx2_vnni, "avx2_vnni"},
      {dnnl_cpu_isa_avx2, "avx2"},
      {dnnl_cpu_isa_avx, "avx"},
      {dnnl_cpu_isa_sse41, "sse41"},
  };
  dnnl_cpu_isa_t set = dnnl_get_effective_cpu_isa();
  for (size_t index = 0; index < sizeof names / sizeof *names; index++)
    if (includes(set, names[index].set))
      return names[index].name;
  return "generic";
}

void CDNNL_limitThreads(int count) { omp_set_num_threads(count); }

int CDNNL_createEngine(CDNNL_Engine *engine) { return dnnl_engine_create(engine, dnnl_cpu, 0); }

void CDNNL_destroyEngine(CDNNL_Engine engine) { dnnl_engine_destroy(engine); }

int CDNNL_createStream(CDNNL_Stream *stream, CDNNL_Engine engine) {
  return dnnl_stream_create(stream, engine, dnnl_stream_default_flags);
}

void CDNNL_destroyStream(CDNNL_Stream stream) { dnnl_stream_destroy(stream); }

#endif
