#!/usr/bin/env bash
# Compares milm's speed and memory with PyTorch's on this machine: installs PyTorch if it is missing, builds milm, runs both in turn.
#
#   Tests/Benchmarks/compare.sh [--steps N] [--rounds N] [--shape paper|small] [--variants V,…] [--precisions P,…] [--styles S,…]
#                      [--peer-modes M,…] [--threads N] [--task train|evaluate] [--corpus CORPUS] [--json]
#
# Prints a Markdown table, or JSON. Nothing else should be running: the two take turns and never run at once.
set -euo pipefail

cd "$(dirname "$(realpath "$0")")/../.."
# shellcheck source-path=SCRIPTDIR/../.. source=Tests/EndToEnd/torch.sh
. Tests/EndToEnd/torch.sh

fail() {
  printf 'compare: %s\n' "$1" >&2
  exit 1
}

python_folder=$PWD/.build/peer-python
export PYTHONPATH=$python_folder${PYTHONPATH:+:$PYTHONPATH}

cluster/install.sh
if ! has_torch; then
  printf 'compare: installing PyTorch %s into %s\n' "$torch_version" "$python_folder" >&2
  mkdir -p "$python_folder"
  install_torch "$python_folder" || fail "expected PyTorch to be installable, found that it is not: $python_folder.log"
fi
swift build -c release --product milm >&2
exec python3 Tests/Benchmarks/peers/compare.py --milm .build/release/milm "$@"
