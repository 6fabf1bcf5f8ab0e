#!/usr/bin/env bash
# Compares training across a real link, two hosts of the lab with one rank and one thread each, with the same two ranks
# left alone, with MPI_Allreduce of fp32 and with PyTorch's DistributedDataParallel; prints a Markdown table.
#
#   cluster/compare-exchange.sh --corpus CORPUS [--config FILE] [--lanes N] [--segment N] [--steps N] [--rounds N]
#                               [--rates R,…] [--codecs C,…] [--ddp-modes M,…|none] [--set key=value]… [--json]
#
# Lanes (default 8) are a rank's; segments are of 64 words. The configuration is the paper's multencdec unless given. All
# runs take turns, --rounds times (default 3); medians are printed. Needs root, as the lab does; nothing else should run.
set -euo pipefail

cd "$(dirname "$(dirname "$(realpath "$0")")")"
export MILM=${MILM:-$PWD/.build/release/milm}
# A lab of its own: one that is up is left alone.
export MILM_LAB=x$$

[ -x "$MILM" ] || {
  printf 'compare-exchange: expected the program at %s, found none; build it with: swift build -c release\n' "$MILM" >&2
  exit 1
}
case ${1-} in
  -h | --help) exec python3 cluster/peers/compare_exchange.py --help ;;
esac
cluster/lab.sh check
work=$(mktemp -d)
trap 'cluster/lab.sh down; rm -rf "$work"' EXIT
cluster/lab.sh up --hosts 2 >&2
python3 cluster/peers/compare_exchange.py --milm "$MILM" --work "$work" "$@"
