#!/usr/bin/env bash
# Starts milm under mpirun, with the flags that training on CPUs needs.
#
#   cluster/launch.sh -n RANKS [--hostfile FILE | --host LIST] [--threads N] -- MILM-ARGUMENT…
#   cluster/launch.sh -n 2 -- train configs/quickstart.yaml --corpus CORPUS --output RUN --resume auto
#   cluster/launch.sh -n 8 --hostfile hosts --threads 16 -- train configs/wikitext103-multencdec.yaml …
#
# --threads is compute threads a rank: on one machine its cores shared among the ranks, unless given; on many hosts ranks
# are bound to that many cores each, and not bound where it is not given. The program is .build/release/milm, or $MILM.
# Everything else about MPI is set as Open MPI wants it, e.g. OMPI_MCA_btl_tcp_if_include=eth0 in the environment.
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

ranks="" hosts=() threads=""
while [ $# -gt 0 ]; do
  case $1 in
    -n) ranks=${2-} ;;
    --hostfile | --host) hosts=("$1" "${2-}") ;;
    --threads) threads=${2-} ;;
    --) break ;;
    -h | --help)
      sed -n 's/^# \{0,1\}//; 2,12p' "$0"
      exit 0
      ;;
    *) fail "expected -n, --hostfile, --host, --threads or --, found $1" ;;
  esac
  shift $(($# < 2 ? $# : 2))
done
[ "${1-}" = "--" ] || fail "expected -- before milm's arguments"
shift
[ $# -gt 0 ] || fail "expected milm's arguments after --, found none"
is_count "$ranks" || fail "expected a number of ranks after -n, found '$ranks'"
[ -z "$threads" ] || is_count "$threads" || fail "expected a number after --threads, found '$threads'"
[ ${#hosts[@]} -eq 0 ] || [ -n "${hosts[1]}" ] || fail "expected a value after ${hosts[0]}, found none"

milm=${MILM:-$(dirname "$(dirname "$(realpath "$0")")")/.build/release/milm}
[ -x "$milm" ] || fail "expected the program at $milm, found none; build it with: swift build -c release"
command -v mpirun >/dev/null || fail "expected mpirun, found none; cluster/install.sh installs it"

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

if [ ${#hosts[@]} -eq 0 ]; then
  slots=$(core_count)
  [ -n "$threads" ] || threads=$((slots > ranks ? slots / ranks : 1))
  binding=(--bind-to none)
else
  slots=$(slot_count)
  binding=(--bind-to none)
  [ -z "$threads" ] || binding=(--map-by "slot:PE=$threads")
  # A host that no longer answers is given up after 20 seconds; without this mpirun waits for it, also after all ranks
  # have ended. Before milm's own limit of 30: once mpirun has told the host to end, it waits a quarter of an hour.
  export OMPI_MCA_oob_tcp_keepalive_time=${OMPI_MCA_oob_tcp_keepalive_time:-10}
  export OMPI_MCA_oob_tcp_keepalive_intvl=${OMPI_MCA_oob_tcp_keepalive_intvl:-5}
  export OMPI_MCA_oob_tcp_keepalive_probes=${OMPI_MCA_oob_tcp_keepalive_probes:-2}
fi

# A rank waiting for others gives up its core: on few cores it would keep another from computing.
flags=("${hosts[@]}" "${binding[@]}" --mca mpi_yield_when_idle 1)
[ -z "$slots" ] || [ "$slots" -ge "$ranks" ] || flags+=(--oversubscribe)
if [ -n "$threads" ]; then
  export OPENBLAS_NUM_THREADS=$threads OMP_NUM_THREADS=$threads
  flags+=(-x OPENBLAS_NUM_THREADS -x OMP_NUM_THREADS)
fi
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

printf 'launch: mpirun -n %s %s %s\n' "$ranks" "${flags[*]}" "$milm $*" >&2
mpirun -n "$ranks" "${flags[@]}" "$milm" "$@" <&0 &
job=$!

# mpirun answers SIGTERM by killing the ranks, but passes SIGUSR1 on to them.
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
