# shellcheck shell=bash
# Functions that the scripts share: help, errors, options, jobs that receive signals, and named stages with their times.
# To be sourced by scripts that run with `set -euo pipefail`.

script=$(basename "$0")
script=${script%.*}

# print_help : the comment at the top of the running script.
print_help() {
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

# fail MESSAGE : ends the script with status 1.
fail() {
  printf '%s: %s\n' "$script" "$1" >&2
  exit 1
}

# usage_error MESSAGE : ends the script with status 64, wrong usage.
usage_error() {
  printf '%s: %s\n' "$script" "$1" >&2
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
