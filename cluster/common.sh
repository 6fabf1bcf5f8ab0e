# shellcheck shell=bash
# Named stages with their times, for scripts to source: stage, skipped, stage_report; and quietly.
# Each stage runs in this shell; with `set -e` the first that fails ends the script, and its name and time are said.

stage_lines=()
stage_running=""
stage_began=$SECONDS

# stage NAME COMMAND… : runs the command as a stage; its output goes where it goes.
stage() {
  stage_running=$1
  stage_began=$SECONDS
  shift
  printf '==> %s\n' "$stage_running" >&2
  "$@"
  stage_lines+=("$(printf '%-46s %5d s' "$stage_running" $((SECONDS - stage_began)))")
  stage_running=""
}

# skipped NAME REASON : says that a stage is left out, and why, here and in the report.
skipped() {
  printf '==> %s: skipped, %s\n' "$1" "$2" >&2
  stage_lines+=("$(printf '%-46s skipped, %s' "$1" "$2")")
}

# stage_report : the table of stages; meant for `trap stage_report EXIT`, where it also names the stage that failed.
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

# quietly LOG COMMAND… : writes the output to a file, on a terminal shows it too; its end is shown where it fails.
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
