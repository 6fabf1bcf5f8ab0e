#!/usr/bin/env bash
# Opens a run's event files with the real TensorBoard and compares every value with metrics.jsonl.
#
#   Tests/EndToEnd/check-tensorboard.sh RUN [FOLDER]
#
# TensorBoard is installed from PyPI where Python does not have it: into FOLDER, or into a temporary one.
set -euo pipefail

cd "$(dirname "$(realpath "$0")")/../.."
if ! python3 -c 'import tensorboard' 2>/dev/null; then
  if [ $# -gt 1 ]; then
    folder=$2
  else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
  fi
  export PYTHONPATH=$folder${PYTHONPATH:+:$PYTHONPATH}
  python3 -c 'import tensorboard' 2>/dev/null ||
    python3 -m pip install --quiet --disable-pip-version-check --no-input --target "$folder" tensorboard==2.21.0
fi
python3 Tests/Reference/compare_tensorboard.py "$1"
