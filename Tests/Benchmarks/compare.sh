#!/usr/bin/env bash
# Compares speed and memory of milm and PyTorch on this machine, in alternating runs; prints a Markdown table.
#
#   Tests/Benchmarks/compare.sh [OPTION…]
#
# Installs PyTorch if it is missing and builds milm. Nothing else should be running.
set -euo pipefail

cd "$(dirname "$(realpath "$0")")/../.."
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. cluster/common.sh
# shellcheck source-path=SCRIPTDIR/../.. source=Tests/EndToEnd/torch.sh
. Tests/EndToEnd/torch.sh

case ${1-} in
  -h | --help)
    print_help
    exec python3 Tests/Benchmarks/peers/compare.py --help
    ;;
esac
cluster/install.sh
require_torch
swift build -c release --product milm >&2
exec python3 Tests/Benchmarks/peers/compare.py --milm .build/release/milm "$@"
