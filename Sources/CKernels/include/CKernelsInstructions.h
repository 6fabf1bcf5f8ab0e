#pragma once

/// Instruction sets of matrix products.
enum CKernels_InstructionSet {
  CKernels_avx2,
  CKernels_avx512f,
  CKernels_avx512_vnni,
  CKernels_avx512_bf16,
  CKernels_amx_bf16,
  CKernels_sve,
  CKernels_bf16,
  CKernels_instructionSetCount
};

/// The set's name as the kernel writes it in /proc/cpuinfo.
const char *CKernels_instructionSetName(int set);

/// Whether this process may use the set: the processor, or its emulator, has it, and the operating system keeps its registers.
_Bool CKernels_hasInstructionSet(int set);
