#!/usr/bin/env bash
# Compares training across a real link, two hosts of the lab with one rank and one thread each, with the same ranks without
# exchange, MPI_Allreduce of fp32 and PyTorch's DistributedDataParallel; prints a Markdown table.
#
#   Tests/Benchmarks/compare-exchange.sh --corpus CORPUS [OPTION…]
#
# With --hosts 1 the two ranks share a host's memory. Installs PyTorch if it is missing, unless --ddp-modes is none.
# Needs root, as the lab does; nothing else should be running. MILM names the program (default .build/release/milm).
set -euo pipefail

cd "$(dirname "$(realpath "$0")")/../.."
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. cluster/common.sh
# shellcheck source-path=SCRIPTDIR/../.. source=Tests/EndToEnd/torch.sh
. Tests/EndToEnd/torch.sh

export MILM=${MILM:-$PWD/.build/release/milm}
# A lab that is already up is not used.
export MILM_LAB=x$$

hosts=2 modes=""
words=("$@")
for index in "${!words[@]}"; do
  case ${words[index]} in
    -h | --help)
      print_help
      exec python3 Tests/Benchmarks/peers/compare_exchange.py --help
      ;;
    --hosts) hosts=${words[index + 1]-} ;;
    --ddp-modes) modes=${words[index + 1]-} ;;
  esac
done
[ -x "$MILM" ] || fail "expected the program at $MILM, found none; build it with: swift build -c release"
[[ $hosts = [12] ]] || usage_error "expected --hosts 1 or 2, found '$hosts'"
[ "$modes" = none ] || require_torch
cluster/lab.sh check
work=$(mktemp -d)
trap 'cluster/lab.sh down; rm -rf "$work"' EXIT
cluster/lab.sh up --hosts "$hosts" >&2
python3 Tests/Benchmarks/peers/compare_exchange.py --milm "$MILM" --work "$work" "$@"
