#!/usr/bin/env bash
# Opens a run's event files with the real TensorBoard and compares every value with metrics.jsonl.
#
#   Tests/EndToEnd/check-tensorboard.sh RUN [DIRECTORY]
#
# If Python has no TensorBoard, it is installed from PyPI into DIRECTORY (default: a temporary directory).
set -euo pipefail

repository=$(realpath "$(dirname "$(realpath "$0")")/../..")
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. "$repository/cluster/common.sh"

only_help "$@"
{ [ $# -ge 1 ] && [ $# -le 2 ]; } || usage_error "expected RUN [DIRECTORY], found '$*'"
if ! python3 -c 'import tensorboard' 2>/dev/null; then
  if [ $# -gt 1 ]; then
    directory=$2
  else
    directory=$(mktemp -d)
    trap 'rm -rf "$directory"' EXIT
  fi
  export PYTHONPATH=$directory${PYTHONPATH:+:$PYTHONPATH}
  python3 -c 'import tensorboard' 2>/dev/null ||
    python3 -m pip install --quiet --disable-pip-version-check --no-input --target "$directory" tensorboard==2.21.0
fi
python3 "$repository/Tests/Reference/compare_tensorboard.py" "$1"
