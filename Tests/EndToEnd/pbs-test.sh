#!/usr/bin/env bash
# Runs cluster/jobs/pbs/milm.pbs as PBS would, with a stand-in for qsub: Debian has no PBS.
#
#   Tests/EndToEnd/pbs-test.sh
#
# 2 ranks must train on the hosts of a node file until shortly before the walltime and stop with a checkpoint, and the job
# must submit a successor with the same arguments; the successor must continue to the end and submit nothing.
# MILM names the program (default .build/release/milm).
set -euo pipefail

repository=$(realpath "$(dirname "$(realpath "$0")")/../..")
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. "$repository/cluster/common.sh"

only_help "$@"
export MILM=${MILM:-$repository/.build/release/milm}
[ -x "$MILM" ] || fail "expected the program at $MILM, found none; build it with: swift build -c release"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fail_with_logs MESSAGE
fail_with_logs() {
  cat "$work"/*.log >&2
  fail "$1"
}

mkdir "$work/bin"
cat >"$work/bin/qsub" <<'QSUB'
#!/bin/sh
printf '%s\n' "$@" "$MILM_ARGUMENTS" >"$QSUB_CALL"
echo 8.server
QSUB
chmod +x "$work/bin/qsub"
printf '%s\n%s\n' "$(hostname)" "$(hostname)" >"$work/nodes"
"$MILM" prepare --generate 30000 --output "$work/corpus" >/dev/null 2>"$work/prepare.log"

# job WALLTIME LOG ARGUMENT… : runs a copy of the batch file, as PBS does, and prints its exit status.
job() {
  local walltime=$1 log=$2 status=0
  shift 2
  sed "s/^#PBS -l walltime=.*/#PBS -l walltime=$walltime/" "$repository/cluster/jobs/pbs/milm.pbs" >"$work/job.SC"
  QSUB_CALL=$work/call PATH=$work/bin:$PATH PBS_O_WORKDIR=$repository PBS_NODEFILE=$work/nodes PBS_JOBID=7.server \
    OMP_NUM_THREADS=1 MILM_LAUNCH="" MILM_ARGUMENTS="$arguments $*" bash "$work/job.SC" >"$work/$log" 2>&1 || status=$?
  printf '%s' "$status"
}

arguments="train configs/quickstart.yaml --corpus $work/corpus --output $work/run --set training.steps=1000000"
arguments+=" --set coordinator.evaluateEvery=0 --set model.hidden=32"
status=$(job 00:02:10 first.log)
[ "$status" -eq 75 ] || fail_with_logs "expected the status of an interrupted run, found $status"
step=$(sed -n 's/.*interrupted at step \([0-9]*\);.*/\1/p' "$work/first.log")
[ -n "$step" ] || fail_with_logs "expected the step of the interruption, found none"
expected=$(printf '%s\n' -W depend=afterany:7.server -v MILM_ARGUMENTS,MILM_LAUNCH "$work/job.SC" "$arguments ")
[ "$(cat "$work/call")" = "$expected" ] || fail_with_logs "expected the submission of a successor, found: $(paste -sd' ' "$work/call")"

rm "$work/call"
status=$(job 24:00:00 second.log --steps $((step + 5)))
[ "$status" -eq 0 ] || fail_with_logs "expected status 0 at the end of the run, found $status"
grep -q "continuing" "$work/second.log" || fail_with_logs "expected the run to continue from its checkpoint, found a new run"
[ ! -e "$work/call" ] || fail_with_logs "expected no successor after the end, found one"
printf 'pbs-test: interrupted at step %s, successor submitted, continued to the end\n' "$step"
