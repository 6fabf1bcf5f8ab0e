#pragma once

#if !__has_include(<dnnl.h>)
#error "libdnnl-dev has gone since the manifest was read: run cluster/install.sh, or build with --manifest-cache none"
#endif
#include <dnnl.h>

/// OpenMP's limit for parallel regions that the calling thread starts. oneDNN is built on OpenMP, whose header is not
/// always installed with it.
void omp_set_num_threads(int count);

/// Describes a matrix by strides; Swift sees the array type `dnnl_dims_t` as a tuple of twelve.
static inline dnnl_status_t CDNNL_matrix(dnnl_memory_desc_t *description, int64_t rowCount, int64_t columnCount,
                                         int64_t rowStride, int64_t columnStride, dnnl_data_type_t type) {
  dnnl_dims_t sizes = {rowCount, columnCount}, strides = {rowStride, columnStride};
  return dnnl_memory_desc_init_by_strides(description, 2, sizes, type, strides);
}

/// Describes a matrix whose layout oneDNN chooses.
static inline dnnl_status_t CDNNL_packedMatrix(dnnl_memory_desc_t *description, int64_t rowCount, int64_t columnCount,
                                               dnnl_data_type_t type) {
  dnnl_dims_t sizes = {rowCount, columnCount};
  return dnnl_memory_desc_init_by_tag(description, 2, sizes, type, dnnl_format_tag_any);
}
