#!/usr/bin/env bash
# Kills training runs with SIGKILL, restarts them, and shows that nothing was lost.
#
#   cluster/kills.sh [COUNT]                # default 20 kills; on 2 ranks of this machine, with a tiny model
#   cluster/kills.sh --faults [TRIES]       # every other fault: signals, hangs, bad frames, disks, damage; default 2 each
#
# Kills fall on every phase in turn (through milm's --fault) and on random moments. After each, every checkpoint that
# stands must verify; the restart with --resume auto must end with the parameters and optimizer state of a run that
# nobody killed, bit for bit. Prints a table; fails where anything was lost. $MILM_KILLS_AT_ONCE (3) runs go at a time.
# Faults of full and read-only disks need root. The program is $MILM or .build's.
set -euo pipefail

repository=$(dirname "$(dirname "$(realpath "$0")")")
trial=kills count=20
if [ "${1-}" = --faults ]; then
  trial=faults count=2
  shift
fi
count=${1:-$count}
[[ $count =~ ^[1-9][0-9]*$ ]] || {
  printf 'kills: expected a number, found %s\n' "$count" >&2
  exit 64
}
export MILM=${MILM:-$repository/.build/release/milm}
work=$(mktemp -d)
trap 'umount "$work"/run-*/checkpoints 2>/dev/null || true; rm -rf "$work"' EXIT

cat >"$work/tiny.yaml" <<'END'
# Kills: a model that trains in a moment, and writes and evaluates all the time.
model: { variant: multencdec, embedding: 12, hidden: 16, decoderContext: 3, encoderContext: 4 }
training: { lanes: 6, segment: 8, steps: 60, precision: float32, threads: 1 }
schedule: { warmup: 2 }
exchange: { codec: int8, ranksPerNode: 1, hashEvery: 10, stallWarnSeconds: 20, stallAbortSeconds: 60 }
coordinator: { reportEvery: 1, evaluateEvery: 8, evaluateStreams: 1, checkpointEvery: 4 }
END
"$MILM" prepare --generate 3000 --output "$work/corpus" 2>"$work/prepare.log" >&2 || {
  cat "$work/prepare.log" >&2
  exit 1
}
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
python3 "$repository/cluster/$trial.py" "$MILM" "$work" "$count"
