#!/usr/bin/env bash
# Starts a training job and starts it again from its last checkpoint when it fails, on the hosts that still answer.
#
#   cluster/supervise.sh [--restarts N] [--back-off SECONDS] -n RANKS [--host LIST] [--threads N] -- train CONFIG …
#   cluster/supervise.sh --restarts 5 -n 4 --host node1:1,node2:1,node3:1,node4:1 -- train configs/wikitext-2.yaml …
#
# Everything after the options goes to cluster/launch.sh. The job gets --resume auto. With --host, hosts that do not answer
# ($MILM_PROBE HOST, by default ssh with a time limit) are left out and the ranks reduced to what the lanes can be shared
# among: RANKS is lowered until the job's own --dry-run accepts it. Restarts wait SECONDS, then twice as long each time.
# One line a start and end goes to standard error. A status of 0, 64 or 75 ends it: finished, wrong usage, interrupted.
set -euo pipefail

repository=$(dirname "$(dirname "$(realpath "$0")")")
probe=${MILM_PROBE:-ssh -o BatchMode=yes -o ConnectTimeout=5}

say() {
  printf '%s supervise: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" >&2
}

fail() {
  printf 'supervise: %s\n' "$1" >&2
  exit 64
}

restarts=3 wait_seconds=10 ranks="" hosts="" threads=()
while [ $# -gt 0 ]; do
  case $1 in
    --restarts) restarts=${2-} ;;
    --back-off) wait_seconds=${2-} ;;
    -n) ranks=${2-} ;;
    --host) hosts=${2-} ;;
    --threads) threads=(--threads "${2-}") ;;
    --) break ;;
    -h | --help)
      sed -n 's/^# \{0,1\}//; 2,11p' "$0"
      exit 0
      ;;
    *) fail "expected --restarts, --back-off, -n, --host, --threads or --, found $1" ;;
  esac
  shift $(($# < 2 ? $# : 2))
done
[ "${1-}" = "--" ] || fail "expected -- before milm's arguments"
shift
[ "${1-}" = train ] || fail "expected milm's arguments to begin with train, found '${1-}'"
for number in "$restarts" "$wait_seconds" "$ranks"; do
  [[ $number =~ ^[0-9]+$ ]] || fail "expected a number for --restarts, --back-off and -n, found '$number'"
done
[ "$ranks" -gt 0 ] || fail "expected at least one rank after -n, found 0"

# The hosts of LIST that answer, as a list.
answering() {
  local entry found=()
  for entry in ${hosts//,/ }; do
    # shellcheck disable=SC2086  # The probe is a command with its options.
    if $probe "${entry%%:*}" true </dev/null >/dev/null 2>&1; then
      found+=("$entry")
    else
      say "host ${entry%%:*} does not answer"
    fi
  done
  local IFS=,
  printf '%s' "${found[*]}"
}

slot_sum() {
  tr ',' '\n' <<<"$1" | awk -F: '{ sum += NF > 1 ? $2 : 1 } END { print sum + 0 }'
}

# A signal ends the job with a checkpoint, and this with it.
job="" signals=0
trap 'signals=$((signals + 1)); [ -z "$job" ] || kill -TERM "$job" 2>/dev/null || true' TERM USR1 INT

# Starts the job and waits for its end, whatever signals come in between.
run() {
  "$repository/cluster/launch.sh" "$@" &
  job=$!
  local status before
  while true; do
    before=$signals
    status=0
    wait "$job" || status=$?
    [ "$signals" -ne "$before" ] || break
  done
  job=""
  return "$status"
}

attempt=0
while true; do
  where=()
  count=$ranks
  if [ -n "$hosts" ]; then
    alive=$(answering)
    [ -n "$alive" ] || say "no host answers"
    slots=$(slot_sum "$alive")
    [ "$count" -le "$slots" ] || count=$slots
    where=(--host "$alive")
  fi
  # Fewer ranks must still share the lanes evenly.
  while [ "$count" -gt 0 ] && [ "$count" -lt "$ranks" ] &&
    ! "$repository/cluster/launch.sh" -n "$count" "${where[@]}" "${threads[@]}" -- "$@" --dry-run >/dev/null 2>&1; do
    count=$((count - 1))
  done
  status=1
  if [ "$count" -gt 0 ]; then
    say "start $((attempt + 1)) of at most $((restarts + 1)): $count ranks${hosts:+ on $alive}"
    status=0
    run -n "$count" "${where[@]}" "${threads[@]}" -- "$@" --resume auto || status=$?
    say "the job has ended with status $status"
  fi
  case $status in
    0 | 64 | 75) exit "$status" ;;
  esac
  [ "$signals" -eq 0 ] || exit "$status"
  if [ "$attempt" -ge "$restarts" ]; then
    say "given up after $attempt restarts; continue with: cluster/launch.sh -n $ranks -- $* --resume auto"
    exit "$status"
  fi
  attempt=$((attempt + 1))
  say "restart $attempt of $restarts in $wait_seconds s"
  sleep "$wait_seconds" &
  wait $! || true
  wait_seconds=$((wait_seconds * 2))
done
