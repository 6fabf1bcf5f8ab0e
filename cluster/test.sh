#!/usr/bin/env bash
# Installs what is missing and runs every test: units, format, and the product from end to end.
#
#   cluster/test.sh [FOLDER]
#
# FOLDER keeps what the end-to-end checks made; without it they work in a temporary folder. Ends at the first failure, with
# its exit status and a table of stages and times. A check that this machine does not allow is skipped, and says why;
# with CI=true what can be installed for it is.
set -euo pipefail

cd "$(dirname "$(dirname "$(realpath "$0")")")"
milm=$PWD/.build/release/milm

# Test perplexity on Wikipedia's lead paragraphs after configs/quickstart.yaml; word frequencies alone give about 600.
text_perplexity_limit=450
# Share above the best possible perplexity that a generated language may be left with.
generated_perplexity_share=1.3

# shellcheck source-path=SCRIPTDIR source=common.sh
. cluster/common.sh
# shellcheck source-path=SCRIPTDIR/.. source=Tests/EndToEnd/torch.sh
. Tests/EndToEnd/torch.sh

if [ $# -gt 0 ]; then
  mkdir -p "$1"
  work=$(realpath "$1")
  trap stage_report EXIT
else
  work=$(mktemp -d)
  trap 'stage_report; rm -rf "$work"' EXIT
fi

fail() {
  printf 'test: %s\n' "$1" >&2
  return 1
}

build_tests() {
  # All products would include the tools of the packages, protoc among them.
  quietly "$work/build.log" swift build -c release --product milmPackageTests
}

unit_tests() {
  quietly "$work/test.log" swift test -c release --skip-build
  tail -n 1 "$work/test.log" >&2
}

# Whether milm in this checkout multiplies with oneDNN; else there is only one way to build it.
has_onednn() {
  [ -z "${MILM_WITHOUT_ONEDNN:-}" ] && [ -e /usr/include/dnnl.h ]
}

# The build as it is where there are the three needed packages alone. It comes first, and the next one takes over from it all
# that does not multiply.
openblas_build() {
  MILM_WITHOUT_ONEDNN=1 build_tests
}

openblas_tests() {
  MILM_WITHOUT_ONEDNN=1 quietly "$work/openblas-test.log" swift test -c release --skip-build \
    --filter 'TensorsTests|LayersTests|LanguageModelTests'
  tail -n 1 "$work/openblas-test.log" >&2
  "$milm" train --single-node-test
}

# The C loops for a processor that is not x86: compiled, not run.
arm_headers=/usr/aarch64-linux-gnu/include

arm_kernels() {
  local clang source
  clang=$(dirname "$(realpath "$(command -v swift)")")/clang
  for source in Sources/CKernels/*.c; do
    "$clang" --target=aarch64-linux-gnu -isystem "$arm_headers" -ISources/CKernels/include -std=gnu11 -O2 \
      -Wall -Werror -c "$source" -o "$work/arm.o"
  done
}

format() {
  swift format lint --strict -r Sources Tests Package.swift
}

scripts() {
  shellcheck -x cluster/*.sh cluster/jobs/slurm/milm.sbatch cluster/jobs/pbs/milm.pbs .ci/run
}

# expect_perplexity JSON LOW HIGH : the perplexity that milm evaluate wrote lies between the two.
expect_perplexity() {
  python3 - "$@" <<'END'
import json, sys
path, low, high = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
perplexity = json.load(open(path))["perplexity"]
if not low <= perplexity <= high:
    sys.exit(f"test: {path}: expected a perplexity from {low:.2f} to {high:.2f}, found {perplexity:.2f}")
print(f"    perplexity {perplexity:.2f}, expected {low:.2f} to {high:.2f}", file=sys.stderr)
END
}

# is_generated CORPUS : a generated language has a known entropy.
is_generated() {
  grep -q '"entropyRate"' "$1/corpus.json"
}

# expect_learnt_language FOLDER : a quickstart's perplexity is near the best possible one of its generated language.
expect_learnt_language() {
  is_generated "$1/corpus" || fail "$1: expected a generated corpus, found another"
  local best
  best=$(python3 -c 'import json, math, sys; print(math.exp(json.load(open(sys.argv[1]))["entropyRate"]))' \
    "$1/corpus/corpus.json")
  expect_perplexity "$1/test.json" "$best" \
    "$(python3 -c 'import sys; print(float(sys.argv[1]) * float(sys.argv[2]))' "$best" "$generated_perplexity_share")"
}

# The way of the README; where there is no network it is that of the generated language.
quickstart() {
  cluster/quickstart.sh "$work/quickstart"
  if is_generated "$work/quickstart/corpus"; then
    [ "${CI:-}" != true ] || fail "expected the real text in CI, found that it could not be fetched"
    expect_learnt_language "$work/quickstart"
  else
    expect_perplexity "$work/quickstart/test.json" 1 "$text_perplexity_limit"
  fi
}

quickstart_again() {
  cluster/quickstart.sh "$work/quickstart" 2>&1 | tee "$work/again.log" >&2
  grep -q 'the corpus is there' "$work/again.log" || fail "expected the corpus to be used again, found it made anew"
}

# A network namespace of its own, in which nothing is reachable; Open MPI needs the loopback interface up.
alone=(unshare --net)
[ "$(id -u)" -eq 0 ] || alone+=(--user --map-root-user)
loopback_up='import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh22x", b"lo", 0x41))  # SIOCSIFFLAGS, up and running'

quickstart_offline() {
  # shellcheck disable=SC2016  # The inner shell expands its own arguments.
  env -u MILM_OFFLINE "${alone[@]}" bash -c 'python3 -c "$1" && exec cluster/quickstart.sh "$2"' \
    quickstart "$loopback_up" "$work/offline"
  expect_learnt_language "$work/offline"
}

single_node() {
  "$milm" train --single-node-test
}

kills() {
  Tests/EndToEnd/kills.py 24
}

single_node_on_2_ranks() {
  cluster/launch.sh -n 2 -- train --single-node-test
}

# The quickstart's run as TensorBoard shows it.
tensorboard() {
  Tests/EndToEnd/check-tensorboard.sh "$work/quickstart/run" "$work/tensorboard"
}

pytorch_agreement() {
  python3 Tests/Reference/compare_perplexity.py "$milm" "$work/quickstart/run/checkpoints/best" \
    "$work/quickstart/corpus"
}

readme_commands() {
  Tests/EndToEnd/readme-commands.py "$milm" >&2
}

pbs_job() {
  Tests/EndToEnd/pbs-test.sh
}

install() {
  local packages=()
  [ "${CI:-}" != true ] || packages=(shellcheck iproute2 libc6-dev-arm64-cross)
  cluster/install.sh "${packages[@]}"
}

stage "install" install
if has_onednn; then
  stage "build with tests, without oneDNN" openblas_build
  stage "unit tests without oneDNN" openblas_tests
else
  skipped "build with oneDNN" "oneDNN is not installed"
fi
stage "build with tests (release)" build_tests
stage "unit tests (release)" unit_tests
no_lab=$(cluster/lab.sh check 2>&1) || skipped "training on several hosts, of the unit tests" "$no_lab"
stage "format" format
if [ -d "$arm_headers" ]; then
  stage "C loops for aarch64" arm_kernels
else
  skipped "C loops for aarch64" "libc6-dev-arm64-cross is not installed (CI=true installs it)"
fi
if command -v shellcheck >/dev/null; then
  stage "scripts" scripts
else
  skipped "scripts" "shellcheck is not installed"
fi

stage "single-node test, alone" single_node
stage "single-node test, 2 ranks" single_node_on_2_ranks
stage "24 kills" kills
stage "commands of the README" readme_commands
stage "PBS batch file, with a stand-in for qsub" pbs_job
stage "quickstart" quickstart
stage "quickstart again" quickstart_again
if python3 -c 'import tensorboard' 2>/dev/null; then
  stage "TensorBoard shows metrics.jsonl" tensorboard
else
  skipped "TensorBoard shows metrics.jsonl" "tensorboard is not installed; Tests/EndToEnd/check-tensorboard.sh installs it"
fi
if "${alone[@]}" true 2>/dev/null; then
  stage "quickstart, network unreachable" quickstart_offline
else
  skipped "quickstart, network unreachable" "unshare --net is not permitted"
fi
if has_torch || { [ "${CI:-}" = true ] && install_torch "$work/python"; }; then
  stage "perplexity equal to PyTorch's" pytorch_agreement
elif [ "${CI:-}" = true ]; then
  tail -n 5 "$work/python.log" >&2
  fail "expected torch and safetensors to be installable in CI, found that they are not"
else
  skipped "perplexity equal to PyTorch's" "torch and safetensors are not installed (CI=true installs them)"
fi
