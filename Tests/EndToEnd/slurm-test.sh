#!/usr/bin/env bash
# Runs cluster/jobs/slurm/milm.sbatch under a real Slurm on this machine: warning, requeue, bit-identical result.
#
#   Tests/EndToEnd/slurm-test.sh        # as root; needs slurmctld slurmd slurm-client munge iproute2
#
# munged, slurmctld and slurmd run with their own configuration and directories in separate namespaces without network:
# the machine's Slurm, ports and /etc are not used, and all of it ends with this script. A job of 2 ranks must train to
# the end; the same job, warned with SIGUSR1 as before its time limit, must exit with 75, be requeued and end with the same
# parameters; so must one whose ranks srun starts with PMIx. Prints a table.
# MILM names the program (default .build/release/milm).
set -euo pipefail

repository=$(realpath "$(dirname "$(realpath "$0")")/../..")
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. "$repository/cluster/common.sh"

only_help "$@"
export MILM=${MILM:-$repository/.build/release/milm}

if [ "${1-}" != inside ]; then
  [ "$(id -u)" -eq 0 ] || fail "expected root, which namespaces and slurmd need, found user $(id -un)"
  for tool in munged slurmctld slurmd sbatch srun ip unshare; do
    command -v "$tool" >/dev/null ||
      fail "expected $tool, found none; cluster/install.sh slurmctld slurmd slurm-client munge iproute2 installs it"
  done
  [ -x "$MILM" ] || fail "expected the program at $MILM, found none; build it with: swift build -c release"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  unshare --net --mount --uts --ipc --pid --fork --kill-child --mount-proc "$0" inside "$work"
  exit
fi
work=$2

# Shows the daemons' logs if the test fails.
report_failure() {
  local status=$?
  [ "$status" -eq 0 ] || tail -n 15 "$work"/log/* "$work"/*.log >&2 || true
}
trap report_failure EXIT

# wait_for SECONDS WHAT COMMAND… : waits until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || fail "expected $what within the time limit, found none"
    sleep 0.2
  done
}

start_slurm() {
  ip link set lo up
  # Slurm and Open MPI need more than the loopback interface.
  ip link add node0 type veth peer name node1
  ip addr add 10.0.0.1/24 dev node0
  ip link set node0 up
  ip link set node1 up
  hostname node
  printf '127.0.0.1 localhost\n10.0.0.1 node\n' >"$work/hosts"
  mount --bind "$work/hosts" /etc/hosts
  mkdir "$work/log" "$work/ctld" "$work/slurmd" "$work/munge"
  # munged checks the permissions of every directory above its socket.
  chmod 755 "$work" "$work/munge"
  (umask 077 && head -c 128 /dev/urandom >"$work/munge/key")
  cat >"$work/slurm.conf" <<CONF
ClusterName=milm
SlurmctldHost=node(10.0.0.1)
AuthInfo=socket=$work/munge/socket,cred_expire=5
SlurmUser=root
SlurmctldPidFile=$work/ctld/pid
SlurmdPidFile=$work/slurmd/pid
StateSaveLocation=$work/ctld
SlurmdSpoolDir=$work/slurmd
SlurmctldLogFile=$work/log/slurmctld
SlurmdLogFile=$work/log/slurmd
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
NodeName=node NodeAddr=10.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=node Default=YES OverTimeLimit=0 State=UP
CONF
  export SLURM_CONF=$work/slurm.conf
  munged --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
    --log-file="$work/log/munged" --seed-file="$work/munge/seed"
  slurmctld -c
  slurmd
  wait_for 20 "a node that is idle" sh -c 'sinfo --noheader --format=%T | grep -q idle'
}

# A generated text and a model that trains in seconds.
prepare() {
  "$MILM" prepare --generate 60000 --output "$work/corpus" >/dev/null 2>"$work/prepare.log"
  cat >"$work/config.yaml" <<'YAML'
model: { variant: multencdec, embedding: 32, hidden: 64, decoderContext: 4, encoderContext: 4 }
training: { lanes: 8, segment: 16, steps: 1000, threads: 1, precision: float32 }
optimizer: { kind: adam, learningRate: 3.0e-3 }
schedule: { kind: cosine, warmup: 10, final: 1.0e-4 }
exchange: { codec: int8, vocabulary: replicated, ranksPerNode: 1 }
coordinator: { reportEvery: 50, evaluateEvery: 250, checkpointEvery: 100 }
YAML
}

# submit NAME OPTION… : submits the batch file, on one node with two ranks, and prints the job's id.
submit() {
  local name=$1
  shift
  (cd "$repository" && sbatch --parsable --nodes=1 --ntasks-per-node=2 --cpus-per-task=1 --oversubscribe \
    --output="$work/$name.log" "$@" cluster/jobs/slurm/milm.sbatch train "$work/config.yaml" \
    --corpus "$work/corpus" --output "$work/$name")
}

was_requeued() {
  scontrol show job "$1" | grep -q 'Restarts=1 '
}

has_ended() {
  scontrol show job "$1" | grep -qE 'JobState=(COMPLETED|FAILED|TIMEOUT|CANCELLED|NODE_FAIL)'
}

# expect_completed JOB NAME : the job ends, and Slurm reports success.
expect_completed() {
  wait_for 120 "the end of job $2" has_ended "$1"
  scontrol show job "$1" | grep -q 'JobState=COMPLETED ' ||
    fail "expected job $2 to complete, found $(scontrol show job "$1" | grep -o 'JobState=[A-Z]*')"
}

# has_trained NAME STEP : the run has reported the step.
has_trained() {
  grep -q "\"step\":$2[,}]" "$work/$1/metrics.jsonl"
}

expect_equal() {
  cmp "$work/whole/checkpoints/last/model.safetensors" "$work/$1/checkpoints/last/model.safetensors" ||
    fail "expected the parameters of the uninterrupted run, found different ones in $1"
}

expect_interruption() {
  grep -q 'interrupted at step' "$work/$1.log" || fail "expected an interruption of $1, found none"
  grep -qE 'continue with: .*launch\.sh -n 2 (--srun )?-- train .*--resume auto' "$work/$1.log" ||
    fail "expected the line that continues $1 on 2 ranks, found $(grep -o 'continue with: .*' "$work/$1.log" | head -n 1)"
  grep -q 'requeueing job' "$work/$1.log" || fail "expected a requeue of $1, found none"
  grep -q 'continuing' "$work/$1.log" || fail "expected $1 to continue from its checkpoint, found a new run"
}

row() {
  printf '%-58s %s\n' "$1" "$2"
}

start_slurm
prepare
row "Slurm, plugins of srun for MPI" "$(sinfo --version), $(srun --mpi=list 2>&1 | grep -owE 'pmi[x2](_v[0-9])?' | paste -sd' ')"

job=$(submit whole)
expect_completed "$job" whole
row "a job of 2 ranks" "completed"

# expect_requeue NAME OPTION… : submits a job, warns it as Slurm does before the time limit, and expects the same result.
expect_requeue() {
  local name=$1 job
  job=$(submit "$@")
  wait_for 60 "step 300 of $name" has_trained "$name" 300
  scancel --signal=USR1 --batch "$job"
  wait_for 60 "a requeue of $name" was_requeued "$job"
  expect_completed "$job" "$name"
  expect_interruption "$name"
  expect_equal "$name"
  row "$name, warned, interrupted at $(sed -n 's/.*interrupted at \(step [0-9]*\).*/\1/p' "$work/$name.log")" \
    "requeued, completed, bit-identical"
}

expect_requeue mpirun
MILM_LAUNCH=--srun expect_requeue srun
grep -q 'launch: .*srun .*--mpi=pmix' "$work/srun.log" || fail "expected srun with PMIx in the log, found none"
grep -q 'ranks=2' "$work/srun.log" || fail "expected 2 ranks in one job under srun, found another number"
