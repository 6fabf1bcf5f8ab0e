#!/usr/bin/env bash
# Compares training across a real link, two hosts of the lab with one rank and one thread each, with the same two ranks
# left alone, with MPI_Allreduce of fp32 and with PyTorch's DistributedDataParallel; prints a Markdown table.
#
#   Tests/Benchmarks/compare-exchange.sh --corpus CORPUS [--config FILE] [--lanes N] [--segment N] [--steps N] [--skip N] [--rounds N]
#                               [--hosts 1|2] [--rates R,…] [--codecs C,…] [--ddp-modes M,…|none] [--ddp-rates R,…]
#                               [--set key=value]… [--json]
#
# Lanes (default 8) are a rank's; segments are of 64 words. The configuration is the paper's multencdec unless given. All
# runs take turns, --rounds times (default 3); medians are printed. With --hosts 1 the two ranks share a host's memory.
# Installs PyTorch if it is missing and asked for. Needs root, as the lab does; nothing else should run.
set -euo pipefail

cd "$(dirname "$(realpath "$0")")/../.."
export MILM=${MILM:-$PWD/.build/release/milm}
# A lab of its own: one that is up is left alone.
export MILM_LAB=x$$
# shellcheck source-path=SCRIPTDIR/../.. source=Tests/EndToEnd/torch.sh
. Tests/EndToEnd/torch.sh

fail() {
  printf 'compare-exchange: %s\n' "$1" >&2
  exit 1
}

hosts=2 modes=""
words=("$@")
for index in "${!words[@]}"; do
  case ${words[index]} in
    -h | --help) exec python3 Tests/Benchmarks/peers/compare_exchange.py --help ;;
    --hosts) hosts=${words[index + 1]-} ;;
    --ddp-modes) modes=${words[index + 1]-} ;;
  esac
done
[ -x "$MILM" ] || fail "expected the program at $MILM, found none; build it with: swift build -c release"
[[ $hosts = [12] ]] || fail "expected --hosts 1 or 2, found '$hosts'"
python_folder=$PWD/.build/peer-python
export PYTHONPATH=$python_folder${PYTHONPATH:+:$PYTHONPATH}
if [ "$modes" != none ] && ! has_torch; then
  printf 'compare-exchange: installing PyTorch %s into %s\n' "$torch_version" "$python_folder" >&2
  mkdir -p "$python_folder"
  install_torch "$python_folder" ||
    fail "expected PyTorch to be installable, found that it is not: $python_folder.log; --ddp-modes none does without"
fi
cluster/lab.sh check
work=$(mktemp -d)
trap 'cluster/lab.sh down; rm -rf "$work"' EXIT
cluster/lab.sh up --hosts "$hosts" >&2
python3 Tests/Benchmarks/peers/compare_exchange.py --milm "$MILM" --work "$work" "$@"
