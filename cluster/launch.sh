#!/usr/bin/env bash
# Starts milm under mpirun with the flags that training on CPUs needs.
#
#   cluster/launch.sh -n RANKS [--hostfile FILE | --host LIST] [--threads N] [--interface NAME] -- MILM-ARGUMENT…
#   cluster/launch.sh -n 2 -- train configs/quickstart.yaml --corpus CORPUS --output RUN --resume auto
#   cluster/launch.sh -n 8 --hostfile cluster/jobs/hosts.example --threads 16 --interface eth0 -- train configs/…
#   cluster/launch.sh -n 8 --hostfile cluster/jobs/hosts.example --dry-run -- train …    # prints the command only
#   cluster/launch.sh --srun -- train …       # inside a Slurm job: starts ranks through srun and PMIx
#
# --threads N        compute threads per rank. Default on one host: its cores divided by its ranks. On several hosts
#                    ranks are bound to N cores each, or unbound by default.
# --interface NAME   network for MPI and for mpirun, by name (eth0) or, where hosts name it differently, as 10.0.0.0/24.
#                    By default Open MPI chooses, InfiniBand first, and may try bridges without a route.
# In a Slurm job the hosts are the job's, and -n and --threads default to its tasks and its CPUs per task.
# MILM names the program (default .build/release/milm). Any other setting of Open MPI can be set in the environment,
# e.g. OMPI_MCA_plm_rsh_args='-p 2222'. Open MPI 5 reads what concerns its launcher under other names, PRTE_MCA_…: they
# are set as well. A program that is linked with MPICH or a relative is started by its launcher, Hydra, whose own settings
# are HYDRA_… and MPIEXEC_…; a line names settings of Open MPI that it ignores.
#
# The exit status is mpirun's: that of the first rank that failed (Hydra: of all, combined bit by bit). 75 means interrupted: continue with --resume auto.
# mpirun may end with 0 although a host was lost or nothing was started: then it is 1, unless milm has reported its end.
# SIGTERM, SIGUSR1, Ctrl-C and the loss of the terminal or of the reader of the output request a checkpoint at the next
# step and then the end; a repeated signal ends the job at once. Under nohup the job outlives its terminal. Where this script
# is killed, the job stops with a checkpoint too.
# What killed jobs of this user have left on this host (session directories, shared memory) is removed at the start.
set -euo pipefail

repository=$(dirname "$(dirname "$(realpath "$0")")")
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$repository/cluster/common.sh"
# shellcheck source-path=SCRIPTDIR source=launchers.sh
. "$repository/cluster/launchers.sh"

own=()
for word in "$@"; do
  own+=("$word")
  [ "$word" != -- ] || break
done

ranks="" hostfile="" host="" threads="" interface="" srun="" dry_run=""
read_options "-n=ranks --hostfile=hostfile --host=host --threads=threads --interface=interface --srun --dry-run --" "$@"
[ ${#remaining[@]} -gt 0 ] || usage_error "expected -- and milm's arguments, found none"
if [ -z "$ranks" ]; then
  ranks=${SLURM_NTASKS:-}
  # Another job, in which the run is continued, may have another number.
  own=(-n "$ranks" "${own[@]}")
fi
# What an interrupted run prints to continue: this command line, up to milm's arguments.
MILM_LAUNCHED_BY=${MILM:+env MILM=$(printf '%q' "$MILM") }$(printf '%q ' "$0" "${own[@]}")
export MILM_LAUNCHED_BY=${MILM_LAUNCHED_BY% }
is_count "$ranks" || usage_error "expected a number of ranks after -n, found '$ranks'"
[ -z "$threads" ] || is_count "$threads" || usage_error "expected a number after --threads, found '$threads'"
[ -z "$hostfile" ] || [ -z "$host" ] || usage_error "expected --hostfile or --host, found both"
[ -z "$hostfile" ] || [ -r "$hostfile" ] || usage_error "expected a file of hosts at $hostfile, found none"
if [ -n "$hostfile" ] && LC_ALL=C grep -q $'\r\|^\xEF\xBB\xBF' "$hostfile"; then
  # As editors of Windows write it. Open MPI would read the signs as parts of names: it gets an unlinked copy without them.
  say 'launch: dropping the byte-order mark and carriage returns of %s\n' "$hostfile"
  hosts=$(tr -d '\r' <"$hostfile")
  if [ -z "$dry_run" ]; then
    hostfile=$(mktemp)
    exec {hosts_copy}<>"$hostfile"
    rm "$hostfile"
    hostfile=/dev/fd/$hosts_copy
    printf '%s\n' "${hosts#$'\xEF\xBB\xBF'}" >"$hostfile"
  fi
fi
[ -z "$srun" ] || [ -z "$hostfile$host" ] || usage_error "expected the job's hosts with --srun, found --hostfile or --host"
[ -z "$srun" ] || [ -n "${SLURM_JOB_ID:-}$dry_run" ] || usage_error "expected a Slurm job for --srun, found none"
milm=${MILM:-$repository/.build/release/milm}
libraries=$(ldd "$milm" 2>/dev/null) || true
family=$(mpi_family "$libraries")
[ -n "$srun" ] && starter=srun || starter=$(mpirun_of "$family")
if [ -z "$dry_run" ]; then
  [ -x "$milm" ] || usage_error "expected the program at $milm, found none; build it with: swift build -c release"
  command -v "$starter" >/dev/null || usage_error "expected $starter, found none; cluster/install.sh installs mpirun"
fi

# The physical cores that this process may use: Open MPI's slots on one host.
core_count() {
  local cores allowed
  cores=$(lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)
  allowed=$(nproc)
  echo $((cores < allowed ? cores : allowed))
}

# The slots that --hostfile or --host states; nothing where a host leaves its number to Open MPI.
slot_count() {
  if [ -n "$hostfile" ]; then
    awk '
      { sub(/#.*/, "") }
      NF && match($0, /slots *= *[0-9]+/) { text = substr($0, RSTART, RLENGTH); sub(/.*= */, "", text); sum += text; next }
      NF { unknown = 1 }
      END { if (!unknown) print sum + 0 }' "$hostfile"
  else
    tr ',' '\n' <<<"$host" | awk -F: '$2 == "*" || $2 == "auto" { unknown = 1 } { sum += NF > 1 ? $2 : 1 }
      END { if (!unknown) print sum }'
  fi
}

on_many_hosts="" slots=""
if [ -n "$hostfile$host" ]; then
  on_many_hosts=1
  slots=$(slot_count)
elif [ -n "${SLURM_JOB_ID:-}" ]; then
  threads=${threads:-${SLURM_CPUS_PER_TASK:-}}
  [ "${SLURM_JOB_NUM_NODES:-1}" -eq 1 ] || on_many_hosts=1
else
  slots=$(core_count)
fi

[ -n "$on_many_hosts$srun$threads" ] || threads=$((${slots:-0} > ranks ? slots / ranks : 1))
if [ -n "$srun" ]; then srun_flags; else "${family}_flags"; fi
"${family}_variables"

# milm's own threads call OpenBLAS, which starts threads of its own as it is loaded, and kills the process where it cannot.
set_variable OPENBLAS_NUM_THREADS 1
# Other hosts may have other processors.
if [ -z "$on_many_hosts$dry_run${OPENBLAS_CORETYPE-}" ] && [[ $libraries == *libopenblas* ]]; then
  core=$(openblas_core "$milm")
  [ -z "$core" ] || set_variable OPENBLAS_CORETYPE "$core"
fi
if [ -n "$threads" ]; then
  set_variable OMP_NUM_THREADS "$threads"
fi
# Other programs, which can be started for a trial, report nothing.
checks_end=""
[ -n "$srun$dry_run" ] || [ "$(basename "$milm")" != milm ] || checks_end=1
[ -z "$checks_end" ] || pass_variable MILM_END_MARK
[ -n "$dry_run" ] || pass_variable MILM_LAUNCHED_BY
# milm draws its progress on the terminal that the messages reach; srun passes whole lines on.
name_terminal
[ -z "$srun" ] || unset MILM_TERMINAL
[ -z "${MILM_TERMINAL-}" ] || pass_variable MILM_TERMINAL
line=("$starter" -n "$ranks" "${flags[@]}" "$milm" "${remaining[@]}")
if [ -n "$dry_run" ]; then
  printf '%s' "env"
  printf ' %q' "${shown[@]}" "${line[@]}"
  printf '\n'
  exit 0
fi
if [ "$family$srun" = openmpi ]; then
  temporary=${OMPI_MCA_orte_tmpdir_base:-${TMPDIR:-/tmp}}
  [ -w "$temporary" ] || fail "expected a writable directory for Open MPI's files, found $temporary: set TMPDIR to one"
  remove_leftovers
fi
say 'launch:%s\n' "$(printf ' %q' "${shown[@]}" "${line[@]}")"

# ends_with_beginning TEXT WORD : whether TEXT ends with the first letters of WORD.
ends_with_beginning() {
  local length
  for ((length = ${#2}; length > 0; length--)); do
    case $1 in *"${2:0:length}") return 0 ;; esac
  done
  return 1
}

# watch_end : copies mpirun's standard error, and ends with status 0 if milm has reported there that it has finished.
#
# What has come of a line after a tenth of a second is passed on: a progress line that is redrawn never ends.
watch_end() {
  local text rest="" passed="" status finished=1
  # Signals of the terminal end mpirun, and this with it.
  trap '' INT TERM HUP USR1 PIPE
  while true; do
    status=0 text=""
    IFS= read -r -t 0.1 text || status=$?
    rest+=$text
    if [ "$status" -gt 128 ]; then
      # The beginning of a mark waits for its end: a slow reader gets a line in pieces.
      case $rest in *"$MILM_END_MARK"*) continue ;; esac
      ! ends_with_beginning "$rest" "$MILM_END_MARK" || continue
      [ -z "$rest" ] || { printf '%s' "$rest" >&2 || true; passed=1; }
      rest=""
      continue
    fi
    case $rest in
      *"$MILM_END_MARK: finished") finished=0 rest=${rest%"$MILM_END_MARK: finished"} ;;
      *"$MILM_END_MARK: end") return "$finished" ;;
    esac
    [ "$status" -eq 0 ] || [ -n "$rest" ] || return "$finished"
    [ -z "$rest$passed" ] && [ "$finished" -eq 0 ] || printf '%s\n' "$rest" >&2 || true
    [ "$status" -eq 0 ] || return "$finished"
    rest="" passed=""
  done
}

exec {out}> >(relay 1)
relays=($!)
exec {err}> >(relay 2)
relays+=($!)
watcher="" errors=$err
if [ -n "$checks_end" ]; then
  export MILM_END_MARK="milm-$$-$RANDOM"
  exec {errors}> >(watch_end 2>&"$err" {out}>&-)
  watcher=$!
fi
(outliving USR1 "${line[@]}") <&0 >&"$out" 2>&"$errors" {out}>&- {err}>&- {errors}>&- &
job=$!

# mpirun answers SIGTERM and SIGHUP by killing the ranks, but forwards SIGUSR1 to them; so does srun.
forward_signals USR1 TERM USR1 HUP INT
status=0
await_job || status=$?
[ -z "$checks_end" ] || [ "$family" = openmpi ] || status=$(mpich_status "$status")
finished=1
if [ -n "$watcher" ]; then
  # A daemon on a lost host may hold the other end open for long.
  printf '%s: end\n' "$MILM_END_MARK" >&"$errors"
  job=$watcher
  await_job || finished=""
  exec {errors}>&-
fi
exec {out}>&- {err}>&-
await_relays "${relays[@]}"
[ -n "$finished" ] || [ "$status" -ne 0 ] ||
  fail "expected milm to report its end, found that mpirun has ended with status 0: a host was lost, or nothing started"
exit "$status"
