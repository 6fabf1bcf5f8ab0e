#!/usr/bin/env bash
# Runs cluster/jobs/pbs/milm.pbs as PBS would, with a stand-in for qsub: Debian has no PBS.
#
#   Tests/EndToEnd/pbs-test.sh
#
# What it sees: 2 ranks train on the hosts of a file of nodes until shortly before the walltime, stop with a checkpoint, and
# the job submits itself again behind itself with the same arguments; run again, it goes on to the end and submits nothing.
set -euo pipefail

repository=$(realpath "$(dirname "$(realpath "$0")")/../..")
export MILM=${MILM:-$repository/.build/release/milm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  cat "$work"/*.log >&2
  printf 'pbs-test: %s\n' "$1" >&2
  exit 1
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

# job WALLTIME LOG STEP-LIMIT… : one run of the batch file, of which PBS has made a copy.
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
[ "$status" -eq 75 ] || fail "expected the status of an interrupted run, found $status"
step=$(sed -n 's/.*interrupted at step \([0-9]*\);.*/\1/p' "$work/first.log")
[ -n "$step" ] || fail "expected the step of the interruption, found none"
expected=$(printf '%s\n' -W depend=afterany:7.server -v MILM_ARGUMENTS,MILM_LAUNCH "$work/job.SC" "$arguments ")
[ "$(cat "$work/call")" = "$expected" ] || fail "expected the job to submit itself again, found: $(paste -sd' ' "$work/call")"

rm "$work/call"
status=$(job 24:00:00 second.log --steps $((step + 5)))
[ "$status" -eq 0 ] || fail "expected the end of the run, found status $status"
grep -q "continuing" "$work/second.log" || fail "expected the run to go on, found that it began anew"
[ ! -e "$work/call" ] || fail "expected nothing submitted after the end, found a job"
printf 'pbs-test: interrupted at step %s, submitted again, went on to the end\n' "$step"
