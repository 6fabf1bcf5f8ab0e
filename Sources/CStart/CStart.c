// What the program needs before its libraries begin, and before `main`.
//
// Libraries start threads and allocate memory as they are loaded, and most of them end with a signal, or wait forever, where
// the system refuses. Functions of `.preinit_array` run before that. The heap is glibc's, behind functions that end
// the process with one line where it has no memory: no library checks all of its allocations.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CStart.h"

#include <elf.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// Addresses and offsets of the system calls are those of a 64-bit system.
#if defined(__GLIBC__) && defined(__LP64__)

// ---------------------------------------------------------------- one line

// The limit on this process's memory that is set, in bytes; 0 where there is none.
static unsigned long long limitOf(int isData) {
  struct rlimit limit;
  if (getrlimit(isData ? RLIMIT_DATA : RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return 0;
  return limit.rlim_cur;
}

static _Noreturn void end(const char *line, int length) {
  signal(SIGPIPE, SIG_IGN);
  if (length > 0 && write(STDERR_FILENO, line, (size_t)length) < 0) {
    // Nobody reads it.
  }
  _exit(EXIT_FAILURE);
}

static _Noreturn void refuse(size_t byteCount) {
  char line[256];
  unsigned long long space = limitOf(0), data = limitOf(1);
  int length = snprintf(line, sizeof line, "milm: out of memory: cannot allocate %zu bytes: Cannot allocate memory", byteCount);
  if (space > 0)
    length += snprintf(line + length, sizeof line - (size_t)length, "; the address space is limited to %llu MB (ulimit -v)",
                       space / 1000000);
  if (data > 0)
    length += snprintf(line + length, sizeof line - (size_t)length, "; data is limited to %llu MB (ulimit -d)",
                       data / 1000000);
  line[length++] = '\n';
  end(line, length);
}

// ---------------------------------------------------------------- the heap

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

extern void *__libc_malloc(size_t byteCount);
extern void *__libc_calloc(size_t count, size_t byteCount);
extern void *__libc_realloc(void *memory, size_t byteCount);
extern void *__libc_memalign(size_t alignment, size_t byteCount);
extern void __libc_free(void *memory);

static void *checked(void *memory, size_t byteCount) {
  if (!memory && byteCount > 0)
    refuse(byteCount);
  return memory;
}

void *malloc(size_t byteCount) { return checked(__libc_malloc(byteCount), byteCount); }

void *calloc(size_t count, size_t byteCount) {
  size_t all;
  if (__builtin_mul_overflow(count, byteCount, &all))
    all = SIZE_MAX;
  return checked(__libc_calloc(count, byteCount), all);
}

void *realloc(void *memory, size_t byteCount) { return checked(__libc_realloc(memory, byteCount), byteCount); }

void *aligned_alloc(size_t alignment, size_t byteCount) {
  return checked(__libc_memalign(alignment, byteCount), byteCount);
}

void *memalign(size_t alignment, size_t byteCount) {
  return checked(__libc_memalign(alignment, byteCount), byteCount);
}

void *valloc(size_t byteCount) { return memalign((size_t)sysconf(_SC_PAGESIZE), byteCount); }

void *pvalloc(size_t byteCount) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return memalign(page, (byteCount + page - 1) / page * page);
}

// The whole set of functions is replaced: a preloaded library must not free what glibc has allocated.
void free(void *memory) { __libc_free(memory); }

int posix_memalign(void **memory, size_t alignment, size_t byteCount) {
  if (alignment == 0 || alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0)
    return EINVAL;
  *memory = checked(__libc_memalign(alignment, byteCount), byteCount);
  return 0;
}

// oneDNN does not look whether it has got memory for the code that it compiles. Huge pages and reservations are what others
// try first and can do without.
void *mmap(void *address, size_t byteCount, int protection, int flags, int descriptor, off_t offset) {
  void *memory = (void *)syscall(SYS_mmap, address, byteCount, protection, flags, descriptor, offset);
  int isMemory = (flags & MAP_ANONYMOUS) && !(flags & (MAP_HUGETLB | MAP_FIXED)) && (protection & PROT_WRITE);
  if (memory == MAP_FAILED && errno == ENOMEM && isMemory)
    refuse(byteCount);
  return memory;
}

void *mmap64(void *address, size_t byteCount, int protection, int flags, int descriptor, off64_t offset) {
  return mmap(address, byteCount, protection, flags, descriptor, offset);
}

#endif

// ---------------------------------------------------------------- before the libraries

// What MPI and other libraries allocate as a command begins, in address space and in data.
static const unsigned long long leastSpace = 100000000, leastData = 60000000;

// The pages of the address space and of data that the process has.
static int readPages(unsigned long long *space, unsigned long long *data) {
  FILE *file = fopen("/proc/self/statm", "re");
  if (!file)
    return 0;
  int count = fscanf(file, "%llu %*u %*u %*u %*u %llu", space, data);
  fclose(file);
  return count == 2;
}

static void requireMemory(void) {
  unsigned long long pages[2];
  if ((limitOf(0) == 0 && limitOf(1) == 0) || !readPages(&pages[0], &pages[1]))
    return;
  for (int isData = 0; isData < 2; isData++) {
    unsigned long long limit = limitOf(isData), least = isData ? leastData : leastSpace;
    unsigned long long need = pages[isData] * (unsigned long long)sysconf(_SC_PAGESIZE) + least;
    if (limit == 0 || limit >= need)
      continue;
    char line[256];
    int length = snprintf(line, sizeof line, "milm: %s: expected a limit of at least %llu MB, found %llu MB (ulimit -%c)\n",
                          isData ? "data" : "address space", need / 1000000 + 1, limit / 1000000, isData ? 'd' : 'v');
    end(line, length);
  }
  // Each thread would reserve 64 MB for an arena of its own.
  mallopt(M_ARENA_MAX, 1);
}

// OpenBLAS starts a thread for every processor as it is loaded, unless this variable is in the environment, and kills the
// process where it cannot. milm's own threads call it.
static char serialOpenBLAS[] = "OPENBLAS_NUM_THREADS=1";

static void makeOpenBLASSerial(char **arguments, char **environment) {
  size_t nameLength = strcspn(serialOpenBLAS, "=") + 1, count = 0;
  for (; environment[count]; count++) {
    if (strncmp(environment[count], serialOpenBLAS, nameLength) == 0) {
      environment[count] = serialOpenBLAS;
      return;
    }
  }
  // The environment has no room for another variable, so the program begins again with one more. Where it was started
  // through the dynamic linker by name, its own file is not known.
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length <= 0 || getauxval(AT_BASE) == 0 || getauxval(AT_SECURE) != 0)
    return;
  path[length] = 0;
  char *extended[count + 2];
  memcpy(extended, environment, count * sizeof *environment);
  extended[count] = serialOpenBLAS;
  extended[count + 1] = NULL;
  execve(path, arguments, extended);
}

static void begin(int count, char **arguments, char **environment) {
  (void)count;
  requireMemory();
  makeOpenBLASSerial(arguments, environment);
}

__attribute__((section(".preinit_array"), used)) static void (*const entry)(int, char **, char **) = begin;

#endif
