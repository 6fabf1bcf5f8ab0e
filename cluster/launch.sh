#!/usr/bin/env bash
# Starts milm under mpirun, with the flags that training on CPUs needs.
#
#   cluster/launch.sh -n RANKS [--hostfile FILE | --host LIST] [--threads N] [--interface NAME] -- MILM-ARGUMENT…
#   cluster/launch.sh -n 2 -- train configs/quickstart.yaml --corpus CORPUS --output RUN --resume auto
#   cluster/launch.sh -n 8 --hostfile cluster/hosts.example --threads 16 --interface eth0 -- train configs/…
#   cluster/launch.sh -n 8 --hostfile cluster/hosts.example --dry-run -- train …    # prints the line, starts nothing
#   cluster/launch.sh --srun -- train …       # inside a Slurm job, through srun and PMIx in place of mpirun
#
# --threads is compute threads a rank: on one machine its cores shared among the ranks, unless given; on many hosts ranks
# are bound to that many cores each, and not bound where it is not given. --interface is the network that ranks and
# mpirun talk TCP over, by name (eth0) or as 10.0.0.0/24 where hosts call it differently; without it Open MPI chooses,
# InfiniBand first, and may try bridges that lead nowhere. The program is .build/release/milm, or $MILM.
# In a Slurm job -n and --threads default to its tasks and its CPUs a task, and the hosts are the job's.
# Everything else about MPI is set as Open MPI wants it, e.g. OMPI_MCA_plm_rsh_args='-p 2222' in the environment.
# The exit status is mpirun's, which is that of the first rank that failed; 75 is a run that was interrupted and goes on
# with --resume auto. SIGTERM and SIGUSR1 ask for that: a checkpoint at the next step; a second one ends it at once.
set -euo pipefail

fail() {
  printf 'launch: %s\n' "$1" >&2
  exit 64
}

is_count() {
  [[ $1 =~ ^[1-9][0-9]*$ ]]
}

ranks=${SLURM_NTASKS:-} threads="" hosts=() interface="" starter=mpirun dry_run=""
while [ $# -gt 0 ]; do
  case $1 in
    -n) ranks=${2-} ;;
    --hostfile | --host) hosts=("$1" "${2-}") ;;
    --threads) threads=${2-} ;;
    --interface)
      interface=${2-}
      [ -n "$interface" ] || fail "expected a network after --interface, found none"
      ;;
    --srun | --dry-run)
      [ "$1" = --srun ] && starter=srun || dry_run=1
      shift
      continue
      ;;
    --) break ;;
    -h | --help)
      sed -n 's/^# \{0,1\}//; 2,17p' "$0"
      exit 0
      ;;
    *) fail "expected -n, --hostfile, --host, --threads, --interface, --srun, --dry-run or --, found $1" ;;
  esac
  shift $(($# < 2 ? $# : 2))
done
[ "${1-}" = "--" ] || fail "expected -- before milm's arguments"
shift
[ $# -gt 0 ] || fail "expected milm's arguments after --, found none"
is_count "$ranks" || fail "expected a number of ranks after -n, found '$ranks'"
[ -z "$threads" ] || is_count "$threads" || fail "expected a number after --threads, found '$threads'"
[ ${#hosts[@]} -eq 0 ] || [ -n "${hosts[1]}" ] || fail "expected a value after ${hosts[0]}, found none"
[ "${hosts[0]-}" != --hostfile ] || [ -r "${hosts[1]}" ] || fail "expected a file of hosts at ${hosts[1]}, found none"
[ $starter = mpirun ] || [ ${#hosts[@]} -eq 0 ] || fail "expected no ${hosts[0]} with --srun: the hosts are the job's"
[ $starter = mpirun ] || [ -n "${SLURM_JOB_ID:-}${dry_run}" ] || fail "expected a Slurm job for --srun, found none"

milm=${MILM:-$(dirname "$(dirname "$(realpath "$0")")")/.build/release/milm}
if [ -z "$dry_run" ]; then
  [ -x "$milm" ] || fail "expected the program at $milm, found none; build it with: swift build -c release"
  command -v "$starter" >/dev/null || fail "expected $starter, found none; cluster/install.sh installs mpirun"
fi

# The cores that this process may use, hyper-threads not counted: Open MPI's slots on one machine.
core_count() {
  local cores allowed
  cores=$(lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)
  allowed=$(nproc)
  echo $((cores < allowed ? cores : allowed))
}

# The slots that --hostfile or --host name; nothing where a host leaves its number to Open MPI.
slot_count() {
  case ${hosts[0]} in
    --hostfile)
      awk '
        { sub(/#.*/, "") }
        NF && match($0, /slots *= *[0-9]+/) { text = substr($0, RSTART, RLENGTH); sub(/.*= */, "", text); sum += text; next }
        NF { unknown = 1 }
        END { if (!unknown) print sum + 0 }' "${hosts[1]}"
      ;;
    --host)
      tr ',' '\n' <<<"${hosts[1]}" | awk -F: '$2 == "*" || $2 == "auto" { unknown = 1 } { sum += NF > 1 ? $2 : 1 }
        END { if (!unknown) print sum }'
      ;;
  esac
}

# set_variable NAME VALUE : for milm on every host.
flags=() shown=()
set_variable() {
  export "$1=$2"
  shown+=("$1=$2")
  # Open MPI takes its own along by itself, and srun takes everything.
  [[ $1 == OMPI_* ]] || [ $starter = srun ] || flags+=(-x "$1")
}

if [ -n "${SLURM_JOB_ID:-}" ] && [ ${#hosts[@]} -eq 0 ]; then
  threads=${threads:-${SLURM_CPUS_PER_TASK:-}}
  slots=""
  [ "${SLURM_JOB_NUM_NODES:-1}" -gt 1 ] && on_many_hosts=1 || on_many_hosts=""
elif [ ${#hosts[@]} -eq 0 ]; then
  slots=$(core_count)
  on_many_hosts=""
else
  slots=$(slot_count)
  on_many_hosts=1
fi

if [ $starter = srun ]; then
  # Where ranks end one after the other, with a checkpoint's status, the last must not be killed for it.
  flags+=(--mpi=pmix --cpu-bind=cores --wait=60)
  [ -z "$threads" ] || flags+=("--cpus-per-task=$threads")
elif [ -n "$on_many_hosts" ]; then
  flags+=("${hosts[@]}")
  if [ -n "$threads" ]; then flags+=(--map-by "slot:PE=$threads"); else flags+=(--bind-to none); fi
  # A host that no longer answers is given up after 20 seconds; without this mpirun waits for it, also after all ranks
  # have ended. Before milm's own limit of 30: once mpirun has told the host to end, it waits a quarter of an hour.
  set_variable OMPI_MCA_oob_tcp_keepalive_time "${OMPI_MCA_oob_tcp_keepalive_time:-10}"
  set_variable OMPI_MCA_oob_tcp_keepalive_intvl "${OMPI_MCA_oob_tcp_keepalive_intvl:-5}"
  set_variable OMPI_MCA_oob_tcp_keepalive_probes "${OMPI_MCA_oob_tcp_keepalive_probes:-2}"
else
  [ -n "$threads" ] || threads=$((${slots:-0} > ranks ? slots / ranks : 1))
  flags+=(--bind-to none)
fi
[ $starter = srun ] || [ -z "$slots" ] || [ "$slots" -ge "$ranks" ] || flags+=(--oversubscribe)

if [ -n "$interface" ]; then
  set_variable OMPI_MCA_pml ob1
  set_variable OMPI_MCA_btl tcp,vader,self
  set_variable OMPI_MCA_btl_tcp_if_include "$interface"
  set_variable OMPI_MCA_oob_tcp_if_include "$interface"
fi
if [ -n "$threads" ]; then
  set_variable OPENBLAS_NUM_THREADS "$threads"
  set_variable OMP_NUM_THREADS "$threads"
fi
if [ "$(id -u)" -eq 0 ] && [ $starter = mpirun ]; then
  set_variable OMPI_ALLOW_RUN_AS_ROOT 1
  set_variable OMPI_ALLOW_RUN_AS_ROOT_CONFIRM 1
fi

line=("$starter" -n "$ranks" "${flags[@]}" "$milm" "$@")
# As a shell would take it again.
if [ -n "$dry_run" ]; then
  printf '%s' "env"
  printf ' %q' "${shown[@]}" "${line[@]}"
  printf '\n'
  exit 0
fi
printf 'launch: %s\n' "${shown[*]} ${line[*]}" >&2
"${line[@]}" <&0 &
job=$!

# mpirun answers SIGTERM by killing the ranks, but passes SIGUSR1 on to them; so does srun.
signalled=""
trap 'signalled=1; kill -USR1 "$job" 2>/dev/null || true' TERM USR1
# A terminal's Ctrl-C reaches mpirun too; its end is waited for.
trap 'signalled=1' INT
while true; do
  signalled=""
  status=0
  wait "$job" || status=$?
  [ -n "$signalled" ] || exit "$status"
done
