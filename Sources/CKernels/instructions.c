#include "CKernelsInstructions.h"

static const char *const names[CKernels_instructionSetCount] = {
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "sve", "bf16"};

const char *CKernels_instructionSetName(int set) { return names[set]; }

#if defined(__x86_64__)
#include <cpuid.h>

// Bits of XCR0: the registers that the operating system saves.
enum { avxRegisters = 0x6, avx512Registers = 0xe6, amxRegisters = 0x60000 };

static unsigned savedRegisters(void) {
  unsigned a, b, c, d;
  const unsigned osxsave = 1u << 27;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & osxsave)) return 0;
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

_Bool CKernels_hasInstructionSet(int set) {
  unsigned a = 0, b = 0, c = 0, d = 0, a1 = 0, unused;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  if (a >= 1) __get_cpuid_count(7, 1, &a1, &unused, &unused, &unused);
  unsigned bit, registers;
  switch (set) {
    case CKernels_avx2: bit = b >> 5, registers = avxRegisters; break;
    case CKernels_avx512f: bit = b >> 16, registers = avx512Registers; break;
    case CKernels_avx512_vnni: bit = c >> 11, registers = avx512Registers; break;
    case CKernels_avx512_bf16: bit = a1 >> 5, registers = avx512Registers; break;
    case CKernels_amx_bf16: bit = d >> 22, registers = amxRegisters; break;
    default: return 0;
  }
  return (bit & 1) && (savedRegisters() & registers) == registers;
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

_Bool CKernels_hasInstructionSet(int set) {
  const unsigned long sve = 1ul << 22, bf16 = 1ul << 14;  // HWCAP_SVE, HWCAP2_BF16
  switch (set) {
    case CKernels_sve: return (getauxval(AT_HWCAP) & sve) != 0;
    case CKernels_bf16: return (getauxval(AT_HWCAP2) & bf16) != 0;
    default: return 0;
  }
}
#else
_Bool CKernels_hasInstructionSet(int set) { return 0; }
#endif
