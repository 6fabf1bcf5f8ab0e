#pragma once
#include <mpi.h>

// Swift does not import macros that cast; each of these functions returns one.

static inline MPI_Comm CMPI_commWorld(void) { return MPI_COMM_WORLD; }
static inline MPI_Comm CMPI_commNull(void) { return MPI_COMM_NULL; }
static inline MPI_Request CMPI_requestNull(void) { return MPI_REQUEST_NULL; }
static inline MPI_Datatype CMPI_byte(void) { return MPI_BYTE; }
static inline MPI_Datatype CMPI_float(void) { return MPI_FLOAT; }
static inline MPI_Op CMPI_sum(void) { return MPI_SUM; }
static inline MPI_Info CMPI_infoNull(void) { return MPI_INFO_NULL; }
static inline int CMPI_typeShared(void) { return MPI_COMM_TYPE_SHARED; }
static inline void *CMPI_inPlace(void) { return MPI_IN_PLACE; }
static inline MPI_Status *CMPI_statusIgnore(void) { return MPI_STATUS_IGNORE; }
static inline MPI_Status *CMPI_statusesIgnore(void) { return MPI_STATUSES_IGNORE; }

/// The default handler ends the process inside the call; this one lets calls return their error code.
static inline int CMPI_returnErrors(MPI_Comm communicator) {
  return MPI_Comm_set_errhandler(communicator, MPI_ERRORS_RETURN);
}
