# shellcheck shell=bash
# Functions that the scripts share: help, errors, options, jobs that receive signals, and named stages with their times.
# To be sourced by scripts that run with `set -euo pipefail`.

script=$(basename "$0")
script=${script%.*}

# print_help : the comment at the top of the running script.
print_help() {
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

# A message that nobody reads, on a terminal that is gone or a pipe without a reader, must not end a script.
trap '' PIPE

# say FORMAT ARGUMENT… : prints to standard error as far as it can.
say() {
  # shellcheck disable=SC2059  # The format is the caller's.
  printf "$@" >&2 2>/dev/null || true
}

# fail MESSAGE : ends the script with status 1.
fail() {
  say '%s: %s\n' "$script" "$1"
  exit 1
}

# usage_error MESSAGE : ends the script with status 64, wrong usage.
usage_error() {
  say '%s: %s\n' "$script" "$1"
  exit 64
}

# read_options "OPTION=VARIABLE …" ARGUMENT… : sets one variable for each option in the arguments.
#
# --name=variable    --name VALUE sets the variable
# --name=variable+   --name VALUE… appends to that array all values up to the next option
# --name             --name alone sets the variable `name` to 1, with _ for each further hyphen
# --                 ends the options; what follows is in the array `remaining`
# -h and --help print the script's help and end it; anything else is wrong usage.
read_options() {
  local known=$1 option variable
  shift
  remaining=()
  while [ $# -gt 0 ]; do
    option=$1
    shift
    case " $known -h --help " in
      *" $option="*)
        { [ $# -gt 0 ] && [ -n "$1" ]; } || usage_error "expected a value after $option, found none"
        variable=${known#*"$option="}
        variable=${variable%% *}
        if [[ $variable != *+ ]]; then
          printf -v "$variable" '%s' "$1"
          shift
          continue
        fi
        local -n values=${variable%+}
        while [ $# -gt 0 ] && [[ $1 != --* ]]; do
          values+=("$1")
          shift
        done
        ;;
      *" $option "*)
        case $option in
          -h | --help)
            print_help
            exit 0
            ;;
          --)
            # shellcheck disable=SC2034  # For the caller.
            remaining=("$@")
            return
            ;;
        esac
        variable=${option#--}
        printf -v "${variable//-/_}" 1
        ;;
      *) usage_error "expected $(sed -E 's/=[^ ]*//g; s/ +/, /g; s/(.*),/\1 or/' <<<"$known"), found $option" ;;
    esac
  done
}

# only_help ARGUMENT… : for a script without other options.
only_help() {
  case ${1-} in
    -h | --help)
      print_help
      exit 0
      ;;
    -*) usage_error "expected no option except --help, found $1" ;;
  esac
}

# is_count TEXT : a whole number from 1.
is_count() {
  [[ $1 =~ ^[1-9][0-9]*$ ]]
}

# The job that signals are forwarded to, and how many the script has received.
job="" signals=0

# forward_signals SIGNAL RECEIVED… : every signal received is sent to the job as SIGNAL.
forward_signals() {
  local signal=$1
  shift
  # shellcheck disable=SC2064  # The signal's name is known here.
  trap "receive_signal $signal" "$@"
}

# receive_signal [SIGNAL] : counts a signal and sends SIGNAL to the job.
receive_signal() {
  signals=$((signals + 1))
  [ $# -eq 0 ] || [ -z "$job" ] || kill "-$1" "$job" 2>/dev/null || true
}

# outliving SIGNAL COMMAND… : runs the command in a session of its own, so that a hang-up or Ctrl-C of the terminal reaches
# it through the script alone; where the script is killed, the system sends SIGNAL to the command.
outliving() {
  local signal=$1
  shift
  if command -v setsid >/dev/null && command -v setpriv >/dev/null; then
    exec setsid setpriv --pdeathsig "$signal" -- "$@"
  fi
  exec "$@"
}

# relay DESCRIPTOR : passes its input on, so that a reader or a terminal that has gone never ends the job that writes: it
# hangs up the script, which then asks the job to stop, or does nothing under nohup. What a full disk cannot take is dropped.
relay() {
  local problem
  exec 3>&"$1"
  until problem=$(LC_ALL=C cat 2>&1 >&3); do
    case $problem in
      *'Broken pipe'* | *'Input/output error'*)
        kill -HUP $$ 2>/dev/null || true
        exec cat >/dev/null
        ;;
    esac
  done
}

# name_terminal : exports the terminal that standard error is, for programs that reach it through relays: host, path, columns.
name_terminal() {
  [ -t 2 ] || return 0
  MILM_TERMINAL="$(uname -n) $(tty <&2) $(stty size <&2 | cut -d ' ' -f 2)" || unset MILM_TERMINAL
  [ -z "${MILM_TERMINAL-}" ] || export MILM_TERMINAL
}

# await_relays PID… : waits until they have passed everything on; not for ever, as another process may still hold their input.
await_relays() {
  for _ in {1..50}; do
    kill -0 "$@" 2>/dev/null || return 0
    sleep 0.1
  done
}

# remove_leftovers : removes session directories and shared-memory segments that killed jobs of this user have left here.
#
# Those of a job that runs belong to a process that lives, or are mapped.
remove_leftovers() {
  local base host directory id file mapped
  base=${OMPI_MCA_orte_tmpdir_base:-${TMPDIR:-/tmp}}
  host=$(uname -n)
  for directory in "$base/ompi.${host%%.*}.$(id -u)"/pid.* "$base/ompi.$host.$(id -u)"/pid.*; do
    id=${directory##*.}
    if [ -O "$directory" ] && is_count "$id" && ! kill -0 "$id" 2>/dev/null; then
      rm -rf "$directory" 2>/dev/null || true
    fi
  done
  local segments=()
  for file in /dev/shm/vader_segment."${host%%.*}"."$(id -u)".* /dev/shm/osc_rdma."${host%%.*}".*; do
    if [ -f "$file" ] && [ -O "$file" ]; then segments+=("$file"); fi
  done
  [ ${#segments[@]} -gt 0 ] || return 0
  # A process maps a segment as soon as it has created it.
  sleep 0.2
  mapped=$(cat /proc/[0-9]*/maps 2>/dev/null | grep -o '/dev/shm/.*' | sort -u) || true
  for file in "${segments[@]}"; do
    grep -qxF "$file" <<<"$mapped" || rm -f "$file" 2>/dev/null || true
  done
}

# await_job : the exit status of the job, however many signals interrupt the wait.
await_job() {
  local before status
  while true; do
    before=$signals
    status=0
    wait "$job" || status=$?
    [ "$signals" -ne "$before" ] || return "$status"
  done
}

stage_lines=()
stage_running=""
stage_began=$SECONDS

# stage NAME COMMAND… : runs the command in this shell and records its time; with `set -e` its failure ends the script.
stage() {
  stage_running=$1
  stage_began=$SECONDS
  shift
  printf '==> %s\n' "$stage_running" >&2
  "$@"
  stage_lines+=("$(printf '%-46s %5d s' "$stage_running" $((SECONDS - stage_began)))")
  stage_running=""
}

# skipped NAME REASON : records that a stage does not run, and why.
skipped() {
  printf '==> %s: skipped, %s\n' "$1" "$2" >&2
  stage_lines+=("$(printf '%-46s skipped, %s' "$1" "$2")")
}

# missing NAME REASON : the same for what is expected to run with CI=true, where it ends the script.
missing() {
  [ "${CI:-}" != true ] || fail "expected $1 to run in CI, found that it cannot: $2"
  skipped "$@"
}

# list_skipped LOG PATTERN : the tests that Swift Testing has skipped, and why; only those whose name matches the pattern may
# be missing in CI.
list_skipped() {
  local line name reason record
  while IFS= read -r line; do
    name=${line#*➜ } reason="it does not say why"
    [[ $name != *' skipped: "'* ]] || reason=${name#*' skipped: "'}
    name=${name%%' skipped'*}
    [[ $name =~ $2 ]] && record=skipped || record=missing
    "$record" "$name" "${reason%'"'}"
  done < <(grep -aE '➜ (Test|Suite) .* skipped' "$1" || true)
}

# stage_report : prints the table of stages, with the one that failed; for `trap stage_report EXIT`.
stage_report() {
  local status=$?
  if [ -n "$stage_running" ]; then
    stage_lines+=("$(printf '%-46s %5d s  FAILED, exit status %d' \
      "$stage_running" $((SECONDS - stage_began)) "$status")")
  fi
  printf '\n' >&2
  [ ${#stage_lines[@]} -eq 0 ] || printf '%s\n' "${stage_lines[@]}" >&2
  printf '%-46s %5d s\n' "total" "$SECONDS" >&2
}

# quietly LOG COMMAND… : writes the output to a file, and to a terminal as well; prints its last lines if the command fails.
quietly() {
  local log=$1 status=0
  shift
  if [ -t 2 ]; then
    "$@" 2>&1 | tee "$log" >&2
    return
  fi
  "$@" >"$log" 2>&1 || status=$?
  [ "$status" -eq 0 ] || tail -n 60 "$log" >&2
  return "$status"
}
