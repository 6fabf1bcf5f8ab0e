#pragma once
#include <mpi.h>

// Handles are pointers in Open MPI and integers in MPICH and its relatives. Swift sees the same structures with both.

typedef struct CMPI_Comm {
  MPI_Comm handle;
} CMPI_Comm;

typedef struct CMPI_Request {
  MPI_Request handle;
} CMPI_Request;

typedef struct CMPI_Window {
  MPI_Win handle;
} CMPI_Window;

typedef struct CMPI_Variable {
  MPI_T_cvar_handle handle;
} CMPI_Variable;

_Static_assert(sizeof(CMPI_Request) == sizeof(MPI_Request), "an array of requests is one of handles");

/// Whether the library is Open MPI; otherwise it is MPICH or a relative of it.
static inline _Bool CMPI_isOpenMPI(void) {
#ifdef OPEN_MPI
  return 1;
#else
  return 0;
#endif
}

// Communicators.

static inline CMPI_Comm CMPI_commWorld(void) { return (CMPI_Comm){MPI_COMM_WORLD}; }
static inline CMPI_Comm CMPI_commNull(void) { return (CMPI_Comm){MPI_COMM_NULL}; }

/// The default handler ends the process inside the call; this one lets calls return their error code.
static inline int CMPI_returnErrors(CMPI_Comm comm) {
  return MPI_Comm_set_errhandler(comm.handle, MPI_ERRORS_RETURN);
}

static inline int CMPI_commRank(CMPI_Comm comm, int *rank) { return MPI_Comm_rank(comm.handle, rank); }
static inline int CMPI_commSize(CMPI_Comm comm, int *size) { return MPI_Comm_size(comm.handle, size); }
static inline int CMPI_commDup(CMPI_Comm comm, CMPI_Comm *other) {
  return MPI_Comm_dup(comm.handle, &other->handle);
}
static inline int CMPI_commSplit(CMPI_Comm comm, int color, int key, CMPI_Comm *other) {
  return MPI_Comm_split(comm.handle, color, key, &other->handle);
}
static inline int CMPI_commSplitShared(CMPI_Comm comm, int key, CMPI_Comm *other) {
  return MPI_Comm_split_type(comm.handle, MPI_COMM_TYPE_SHARED, key, MPI_INFO_NULL, &other->handle);
}
static inline int CMPI_commFree(CMPI_Comm *comm) { return MPI_Comm_free(&comm->handle); }
static inline int CMPI_abort(CMPI_Comm comm, int status) { return MPI_Abort(comm.handle, status); }

// Collectives of bytes and of floats.

static inline int CMPI_barrier(CMPI_Comm comm) { return MPI_Barrier(comm.handle); }
static inline int CMPI_bcast(void *bytes, int count, int root, CMPI_Comm comm) {
  return MPI_Bcast(bytes, count, MPI_BYTE, root, comm.handle);
}
static inline int CMPI_ibcast(void *bytes, int count, int root, CMPI_Comm comm, CMPI_Request *request) {
  return MPI_Ibcast(bytes, count, MPI_BYTE, root, comm.handle, &request->handle);
}
static inline int CMPI_allgather(const void *own, void *all, int count, CMPI_Comm comm) {
  return MPI_Allgather(own, count, MPI_BYTE, all, count, MPI_BYTE, comm.handle);
}
static inline int CMPI_allreduceSum(float *values, int count, CMPI_Comm comm) {
  return MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_FLOAT, MPI_SUM, comm.handle);
}

// Messages of bytes.

static inline CMPI_Request CMPI_requestNull(void) { return (CMPI_Request){MPI_REQUEST_NULL}; }
static inline _Bool CMPI_isNull(CMPI_Request request) { return request.handle == MPI_REQUEST_NULL; }
static inline int CMPI_isend(
    const void *bytes, int count, int peer, int tag, CMPI_Comm comm, CMPI_Request *request) {
  return MPI_Isend(bytes, count, MPI_BYTE, peer, tag, comm.handle, &request->handle);
}
static inline int CMPI_irecv(
    void *bytes, int count, int peer, int tag, CMPI_Comm comm, CMPI_Request *request) {
  return MPI_Irecv(bytes, count, MPI_BYTE, peer, tag, comm.handle, &request->handle);
}
static inline int CMPI_test(CMPI_Request *request, int *isDone) {
  return MPI_Test(&request->handle, isDone, MPI_STATUS_IGNORE);
}
static inline int CMPI_testsome(
    int count, CMPI_Request *requests, int *doneCount, int *done, MPI_Status *statuses) {
  return MPI_Testsome(count, (MPI_Request *)requests, doneCount, done, statuses);
}
static inline int CMPI_byteCount(const MPI_Status *status, int *count) {
  return MPI_Get_count(status, MPI_BYTE, count);
}
static inline int CMPI_cancel(CMPI_Request *request) { return MPI_Cancel(&request->handle); }
static inline int CMPI_requestFree(CMPI_Request *request) { return MPI_Request_free(&request->handle); }

// Shared memory.

static inline int CMPI_windowAllocateShared(
    MPI_Aint byteCount, CMPI_Comm comm, void **base, CMPI_Window *window) {
  return MPI_Win_allocate_shared(byteCount, 1, MPI_INFO_NULL, comm.handle, base, &window->handle);
}
static inline int CMPI_windowSharedQuery(CMPI_Window window, int rank, MPI_Aint *byteCount, void **start) {
  int unit;
  return MPI_Win_shared_query(window.handle, rank, byteCount, &unit, start);
}
static inline int CMPI_windowFree(CMPI_Window *window) { return MPI_Win_free(&window->handle); }

// Control variables.

static inline int CMPI_variableOpen(int index, CMPI_Variable *variable, int *count) {
  return MPI_T_cvar_handle_alloc(index, (void *)0, &variable->handle, count);
}
static inline int CMPI_variableRead(CMPI_Variable variable, void *value) {
  return MPI_T_cvar_read(variable.handle, value);
}
static inline int CMPI_variableClose(CMPI_Variable *variable) {
  return MPI_T_cvar_handle_free(&variable->handle);
}
