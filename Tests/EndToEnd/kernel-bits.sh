#!/usr/bin/env bash
# Compiles the C kernels for aarch64, and compares what must be the same bits on all processors with older x86-64 and
# aarch64: optimizers, codecs, residuals, sums of frames, dropout, initial weights, hashes, tokenization.
#
#   Tests/EndToEnd/kernel-bits.sh
#
# Needs Debian's libc6-dev-arm64-cross. The other processors are emulated by Debian's qemu-user-static; without it the
# kernels are compiled only.
set -euo pipefail

repository=$(realpath "$(dirname "$(realpath "$0")")/../..")
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. "$repository/cluster/common.sh"

only_help "$@"
[ $# -eq 0 ] || usage_error "expected nothing, found $*"
arm=/usr/aarch64-linux-gnu
[ -d "$arm/include" ] || fail "expected the C library of aarch64 in $arm, found none; Debian: libc6-dev-arm64-cross"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# compile PROGRAM OPTION… : with the compiler of the Swift toolchain, which compiles the product.
clang=$(swift -print-target-info | sed -n 's|.*"runtimeResourcePath": *"\(.*\)/lib/swift".*|\1|p')/bin/clang
compile() {
  "$clang" -std=gnu11 -O2 -Wall -Werror -I"$repository/Sources/CKernels/include" \
    "$repository/Tests/EndToEnd/kernel-bits.c" "$repository"/Sources/CKernels/*.c -o "$work/$1" "${@:2}"
}

# compare NAME COMMAND… : its output with this processor's, where denormals are flushed to zero and where not.
compare() {
  local name=$1 mode
  shift
  for mode in keep flush; do
    "$work/native" $mode >"$work/expected"
    # QEMU names the instructions that it does not emulate.
    "$@" $mode >"$work/found" 2>"$work/errors" || fail "expected $name to be emulated, found: $(tail -n 1 "$work/errors")"
    diff "$work/expected" "$work/found" >&2 ||
      fail "expected the same bits on this processor and on $name, found the differences above (denormals: $mode)"
  done
  printf 'kernel-bits: %d results are equal on %s\n' "$(wc -l <"$work/found")" "$name" >&2
}

# Linked by hand: no package has gcc's files for aarch64 without gcc.
compile aarch64 --target=aarch64-linux-gnu -isystem "$arm/include" -fuse-ld=lld -nostdlib \
  "$arm"/lib/{crt1,crti,crtn}.o -L"$arm/lib" -lc -lm
if ! command -v qemu-aarch64-static >/dev/null; then
  printf 'kernel-bits: compiled for aarch64, not run: qemu-user-static is not installed\n' >&2
  exit 0
fi
compile native -lm
compare aarch64 qemu-aarch64-static -L "$arm" "$work/aarch64"
if [ "$(uname -m)" = x86_64 ]; then
  for processor in Nehalem Haswell; do
    compare "$processor" qemu-x86_64-static -cpu "$processor" "$work/native"
  done
fi
