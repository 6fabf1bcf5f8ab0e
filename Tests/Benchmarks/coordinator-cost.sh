#!/usr/bin/env bash
# Measures what checkpoints and evaluations cost the steps that run meanwhile, with either placement of the coordinator.
#
#   cluster/coordinator-cost.sh --corpus CORPUS [--config CONFIG] [--placement dedicated|worker] [--steps N] [--seconds N]
#     [--every STEPS] [--set KEY=VALUE]…                                  # a checkpoint every so many steps, by default 20
#   cluster/coordinator-cost.sh --corpus wikitext-2                       # H 512, V 33,278, both placements
#   cluster/coordinator-cost.sh --corpus wikipedia --config configs/wikitext103-multencdec.yaml --set training.lanes=8 …
#
# Two ranks of one thread, rank 0 bound to one core and rank 1 to another; every step writes its line of metrics, which says
# how long rank 0 wrote or evaluated in that time. The table goes to standard output. The program is $MILM or .build's.
set -euo pipefail

repository=$(dirname "$(dirname "$(realpath "$0")")")
milm=${MILM:-$repository/.build/release/milm}

fail() {
  printf 'coordinator-cost: %s\n' "$1" >&2
  exit 64
}

corpus="" config="" placements=(dedicated worker) steps=240 seconds=0 every=20 settings=()
while [ $# -gt 0 ]; do
  case $1 in
    --corpus) corpus=${2-} ;;
    --config) config=${2-} ;;
    --placement) placements=("${2-}") ;;
    --steps) steps=${2-} ;;
    --seconds) seconds=${2-} ;;
    --every) every=${2-} ;;
    --set) settings+=(--set "${2-}") ;;
    -h | --help)
      sed -n 's/^# \{0,1\}//; 2,10p' "$0"
      exit 0
      ;;
    *) fail "expected --corpus, --config, --placement, --steps, --seconds, --every or --set, found $1" ;;
  esac
  shift $(($# < 2 ? $# : 2))
done
[ -n "$corpus" ] || fail "expected --corpus with a corpus directory"
[ -x "$milm" ] || fail "expected the program at $milm, found none; build it with: swift build -c release"
if [ -z "$config" ]; then
  config=$repository/configs/wikitext-2.yaml
  settings=(--set model.hidden=512 --set training.lanes=16 "${settings[@]}")
fi
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/milm-cost.XXXXXX")
trap 'rm -rf "$work"' EXIT
for placement in "${placements[@]}"; do
  status=0
  timeout --preserve-status --signal=USR1 "$seconds" mpirun -n 2 --map-by core --bind-to core -x OPENBLAS_NUM_THREADS=1 "$milm" train "$config" \
    --corpus "$corpus" --output "$work/$placement" --steps "$steps" --set training.threads=1 --set "coordinator.placement=$placement" \
    --set coordinator.reportEvery=1 --set "coordinator.checkpointEvery=$every" --set "coordinator.evaluateEvery=$((6 * every))" --set coordinator.keepLast=1 \
    --set exchange.ranksPerNode=1 "${settings[@]}" >"$work/$placement.out" 2>"$work/$placement.log" || status=$?
  # 75 is a run that --seconds has interrupted.
  [ "$status" -eq 0 ] || [ "$status" -eq 75 ] || {
    tail -n 20 "$work/$placement.log" >&2
    exit 1
  }
done
python3 "$repository/cluster/coordinator_cost.py" "$work" "$every" "${placements[@]}"
