#!/usr/bin/env bash
# Installs what is missing and runs every test: units, static checks, and the product from end to end.
#
#   cluster/test.sh [DIRECTORY]
#
# DIRECTORY keeps the output of the end-to-end checks (default: a temporary directory). Ends at the first failure, with its
# status, and a table of stages and times. A stage or test that this machine does not allow is skipped and listed, with the
# reason. With CI=true, tools that can be installed are installed rather than missed, and what then does not run for want
# of root, of a tool or of namespaces is a failure.
set -euo pipefail

cd "$(dirname "$(dirname "$(realpath "$0")")")"
# shellcheck source-path=SCRIPTDIR source=common.sh
. cluster/common.sh
# shellcheck source-path=SCRIPTDIR/.. source=Tests/EndToEnd/torch.sh
. Tests/EndToEnd/torch.sh

only_help "$@"
[ $# -le 1 ] || usage_error "expected at most one directory, found $*"
milm=$PWD/.build/release/milm
ci=""
[ "${CI:-}" != true ] || ci=1
# Test perplexity on Wikipedia's lead paragraphs after configs/quickstart.yaml; a unigram model gives about 600.
text_perplexity_limit=450
# The static build is left out where the stages before it took longer.
static_seconds=1380
# Largest ratio to the lowest possible perplexity of a generated language.
generated_perplexity_ratio=1.3

if [ $# -gt 0 ]; then
  mkdir -p "$1"
  work=$(realpath "$1")
  trap stage_report EXIT
else
  work=$(mktemp -d)
  trap 'stage_report; rm -rf "$work"' EXIT
fi

install() {
  local packages=()
  [ -z "$ci" ] || packages=(shellcheck strace iproute2 libc6-dev-arm64-cross qemu-user-static debootstrap chromium)
  cluster/install.sh "${packages[@]}"
}

# ---------------------------------------------------------------- builds and unit tests

build_tests() {
  # Not all products: those include the tools of dependencies, such as protoc.
  quietly "$work/build.log" swift build -c release --product milmPackageTests
}

# Tests that need what CI does not have: a copy of WikiText-2, control groups of one's own, a second processor.
may_be_skipped='countsWikiText2Exactly|aQuotaBoundsTheThreads|aLimitOfMemoryIsChecked|doctorNamesARankThatIsBound'

# run_tests LOG OPTION… : prints Swift Testing's closing line, and before it what failed, wherever that is in the log.
run_tests() {
  local log=$work/$1 status=0
  shift
  quietly "$log" swift test -c release --skip-build "$@" || status=$?
  if [ "$status" -ne 0 ]; then
    grep -a '✘' "$log" | head -n 40 >&2 || true
    return "$status"
  fi
  grep 'Test run with' "$log" | tail -n 1 >&2 || fail "expected the closing line of Swift Testing in $log, found none"
  list_skipped "$log" "$may_be_skipped"
}

has_onednn() {
  [ -z "${MILM_WITHOUT_ONEDNN:-}" ] && { [ -n "${MILM_ONEDNN:-}" ] || [ -e /usr/include/dnnl.h ]; }
}

# The build for machines without oneDNN. It comes first: the next build reuses all objects that do not depend on oneDNN.
openblas_build() {
  MILM_WITHOUT_ONEDNN=1 build_tests
}

openblas_tests() {
  local may_be_skipped="$may_be_skipped|OneDNN"
  MILM_WITHOUT_ONEDNN=1 run_tests openblas-test.log --filter 'TensorsTests|LayersTests|LanguageModelTests'
  "$milm" train --single-node-test
}

unit_tests() {
  run_tests test.log
}

# ---------------------------------------------------------------- static checks

format() {
  swift format lint --strict -r Sources Tests Package.swift
}

layers() {
  Tests/check-imports.py
  Tests/check-layers.py
}

reference_pages() {
  "$milm" reference --output Sources/milm/milm.docc --check
}

links() {
  Tests/EndToEnd/check-documentation.py
}

kernel_bits() {
  Tests/EndToEnd/kernel-bits.sh
}

shell_scripts() {
  shellcheck -x cluster/*.sh cluster/jobs/slurm/milm.sbatch cluster/jobs/pbs/milm.pbs .ci/run \
    Tests/EndToEnd/*.sh Tests/Benchmarks/*.sh
}

scripts() {
  Tests/EndToEnd/check-help.py
}

# ---------------------------------------------------------------- the product from end to end

# A network namespace without any connection; Open MPI needs the loopback interface up.
offline=(unshare --net)
[ "$(id -u)" -eq 0 ] || offline+=(--user --map-root-user)
loopback_up='import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh22x", b"lo", 0x41))  # SIOCSIFFLAGS, up and running'

single_node() {
  "$milm" train --single-node-test
}

single_node_on_2_ranks() {
  cluster/launch.sh -n 2 -- train --single-node-test
}

kills() {
  Tests/EndToEnd/kills.py 24 --milm "$milm"
}

readme_commands() {
  Tests/EndToEnd/readme-commands.py "$milm" >&2
}

pbs_job() {
  Tests/EndToEnd/pbs-test.sh
}

# expect_perplexity JSON LOW HIGH : of what milm evaluate wrote.
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

# is_generated CORPUS : only a generated language has a known entropy.
is_generated() {
  grep -q '"entropyRate"' "$1/corpus.json"
}

# expect_learned_language DIRECTORY : a quickstart's perplexity is near the lowest possible of its generated language.
expect_learned_language() {
  is_generated "$1/corpus" || fail "expected a generated corpus in $1, found a text"
  local lowest
  lowest=$(python3 -c 'import json, math, sys; print(math.exp(json.load(open(sys.argv[1]))["entropyRate"]))' \
    "$1/corpus/corpus.json")
  expect_perplexity "$1/test.json" "$lowest" \
    "$(python3 -c 'import sys; print(float(sys.argv[1]) * float(sys.argv[2]))' "$lowest" "$generated_perplexity_ratio")"
}

# The README's first command; without network it learns the generated language.
quickstart() {
  cluster/quickstart.sh "$work/quickstart"
  if is_generated "$work/quickstart/corpus"; then
    [ -z "$ci" ] || fail "expected the real text in CI, found that it could not be fetched"
    expect_learned_language "$work/quickstart"
  else
    expect_perplexity "$work/quickstart/test.json" 1 "$text_perplexity_limit"
  fi
}

quickstart_again() {
  cluster/quickstart.sh "$work/quickstart" 2>&1 | tee "$work/again.log" >&2
  grep -q 'reusing the corpus' "$work/again.log" || fail "expected the corpus to be reused, found that it was rebuilt"
}

quickstart_offline() {
  # shellcheck disable=SC2016  # The inner shell expands its own arguments.
  env -u MILM_OFFLINE "${offline[@]}" bash -c 'python3 -c "$1" && exec cluster/quickstart.sh "$2"' \
    quickstart "$loopback_up" "$work/offline"
  expect_learned_language "$work/offline"
}

tensorboard() {
  Tests/EndToEnd/check-tensorboard.sh "$work/quickstart/run" "$work/tensorboard"
}

report_pages() {
  Tests/EndToEnd/check-report.py "$milm"
}

pytorch_agreement() {
  python3 Tests/Reference/compare_perplexity.py "$milm" "$work/quickstart/run/checkpoints/best" \
    "$work/quickstart/corpus"
}

reader() {
  Tests/EndToEnd/reader.py --milm "$milm" >&2
}

trackers() {
  Tests/EndToEnd/trackers.py --milm "$milm" >&2
}

# Another Debian than most machines have: Open MPI 5 and oneDNN 3.
other_debian() {
  Tests/EndToEnd/debian.sh --quick 13
}

# What is copied to nodes that have no Swift; it shares the objects of the release build.
static_build() {
  quietly "$work/static.log" swift build -c release --product milm --static-swift-stdlib
  cp "$milm" "$work/milm-static"
}

bare_node() {
  Tests/EndToEnd/debian.sh --node "$work/milm-static" "$debian"
}

package_names() {
  quietly "$work/package-names.log" Tests/EndToEnd/package-names.sh
}

documentation() {
  quietly "$work/documentation.log" Tests/EndToEnd/build-documentation.sh "$work/documentation"
}

# ---------------------------------------------------------------- the stages

stage "install" install

if has_onednn; then
  stage "build with tests, without oneDNN" openblas_build
  stage "unit tests without oneDNN" openblas_tests
else
  skipped "build with oneDNN" "oneDNN is not installed"
fi
stage "build with tests (release)" build_tests
no_lab=$(cluster/lab.sh check 2>&1) || missing "unit tests on several hosts" "$no_lab"
stage "unit tests (release)" unit_tests

stage "format" format
stage "layers" layers
stage "reference pages" reference_pages
stage "links" links
if [ -d /usr/aarch64-linux-gnu/include ]; then
  stage "C kernels on aarch64 and older x86-64" kernel_bits
else
  missing "C kernels on aarch64 and older x86-64" "libc6-dev-arm64-cross is not installed (CI=true installs it)"
fi
if command -v shellcheck >/dev/null; then
  stage "shell scripts" shell_scripts
else
  missing "shell scripts" "shellcheck is not installed (CI=true installs it)"
fi
stage "scripts" scripts

stage "single-node test, 1 rank" single_node
stage "single-node test, 2 ranks" single_node_on_2_ranks
stage "24 kills" kills
stage "commands of the documentation" readme_commands
stage "PBS batch file, with a stand-in for qsub" pbs_job
stage "quickstart" quickstart
stage "quickstart again" quickstart_again
if command -v chromium >/dev/null; then
  stage "reports in a browser" report_pages
else
  skipped "reports in a browser" "chromium is not installed (CI=true installs it)"
fi
if [ -n "$ci" ] || python3 -c 'import tensorboard' 2>/dev/null; then
  stage "TensorBoard shows metrics.jsonl" tensorboard
else
  missing "TensorBoard shows metrics.jsonl" "tensorboard is not installed (CI=true installs it)"
fi
if "${offline[@]}" true 2>/dev/null; then
  stage "quickstart, network unreachable" quickstart_offline
else
  missing "quickstart, network unreachable" "unshare --net is not permitted"
fi
if has_torch || { [ -n "$ci" ] && install_torch "$work/python"; }; then
  stage "perplexity equal to PyTorch's" pytorch_agreement
elif [ -n "$ci" ]; then
  tail -n 5 "$work/python.log" >&2
  fail "expected torch and safetensors to be installable in CI, found that they are not"
else
  skipped "perplexity equal to PyTorch's" "torch and safetensors are not installed (CI=true installs them)"
fi
if has_torch && { has_reader_packages || { [ -n "$ci" ] && install_reader "$work/reader-python"; }; }; then
  stage "milm_reader, transformers and milm import" reader
  stage "metrics in Weights & Biases and MLflow" trackers
elif [ -n "$ci" ]; then
  tail -n 5 "$work/reader-python.log" >&2
  fail "expected milm_reader and the packages of its tests to be installable in CI, found that they are not"
else
  skipped "milm_reader" "PyTorch, transformers, wandb or mlflow is not installed (CI=true installs them)"
fi
if [ -z "${MILM_TEST_DEBIAN:-}" ]; then
  skipped "Debian 13" "it needs 5 GB and ten minutes (MILM_TEST_DEBIAN=1 runs it)"
elif no_debian=$(Tests/EndToEnd/debian.sh --check 13 2>&1); then
  stage "Debian 13" other_debian
else
  skipped "Debian 13" "$no_debian"
fi
if [ -z "$ci" ]; then
  skipped "package names on several Debians" "it fetches 30 MB (CI=true runs it)"
elif no_lists=$(Tests/EndToEnd/package-names.sh --check 2>&1); then
  stage "package names on several Debians" package_names
else
  skipped "package names on several Debians" "$no_lists"
fi
# The program runs on the Debian that it was built on.
debian=$(sed -n 's/^VERSION_ID="\(.*\)"/\1/p' /etc/os-release)
if [ -z "${MILM_TEST_STATIC:-}" ] && { [ -z "$ci" ] || [ "$SECONDS" -gt "$static_seconds" ]; }; then
  skipped "static build on a bare node" "it compiles everything again, five minutes (MILM_TEST_STATIC=1 runs it)"
elif no_debian=$(Tests/EndToEnd/debian.sh --check "$debian" 2>&1); then
  stage "build with --static-swift-stdlib" static_build
  stage "that build on a bare node" bare_node
else
  skipped "static build on a bare node" "$no_debian"
fi
# Last, since it adds a dependency to the package.
if [ -n "$ci" ] || MILM_DOCS=1 swift package resolve >/dev/null 2>&1; then
  stage "documentation" documentation
else
  skipped "documentation" "swift-docc-plugin cannot be fetched"
fi
