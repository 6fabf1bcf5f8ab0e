#!/usr/bin/env bash
# Starts a training job and restarts it from its last checkpoint when it fails, on the hosts that still answer.
#
#   cluster/supervise.sh [--restarts N] [--back-off SECONDS] -n RANKS [--host LIST] [--threads N] -- train CONFIG …
#   cluster/supervise.sh --restarts 5 -n 4 --host node1:1,node2:1,node3:1,node4:1 -- train configs/wikitext-2.yaml …
#
# --restarts N         number of restarts (default 3)
# --back-off SECONDS   pause before the first restart (default 10); it doubles with each restart, up to 10 minutes, and
#                      is reset by a job that has completed a checkpoint
# --host LIST          hosts as for cluster/launch.sh. Hosts that do not answer are left out; the number of ranks is then
#                      lowered until the job's own --dry-run accepts it, so that the lanes still divide evenly.
# MILM_PROBE is the command that tests a host, called as MILM_PROBE HOST true (default ssh with a time limit).
#
# The other arguments go to cluster/launch.sh, with --resume auto. Every start and end is logged to standard error.
# Status 0 (finished), 64 (wrong usage) and 75 (interrupted) are final: the job is not restarted.
set -euo pipefail

repository=$(dirname "$(dirname "$(realpath "$0")")")
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$repository/cluster/common.sh"
probe=${MILM_PROBE:-ssh -o BatchMode=yes -o ConnectTimeout=5}

restarts=3 back_off=10 ranks="" host="" threads=""
read_options "--restarts=restarts --back-off=back_off -n=ranks --host=host --threads=threads --" "$@"
arguments=("${remaining[@]}")
[ "${arguments[0]-}" = train ] || usage_error "expected -- train …, found '${arguments[*]-}'"
is_count "$ranks" || usage_error "expected a number of ranks after -n, found '$ranks'"
for number in "$restarts" "$back_off"; do
  [[ $number =~ ^[0-9]+$ ]] || usage_error "expected a number for --restarts and --back-off, found '$number'"
done
options=()
[ -z "$threads" ] || options=(--threads "$threads")

log() {
  say '%s supervise: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1"
}

# The hosts of --host that answer, as a list.
answering_hosts() {
  local entry found=()
  for entry in ${host//,/ }; do
    # shellcheck disable=SC2086  # The probe is a command with its options.
    if $probe "${entry%%:*}" true </dev/null >/dev/null 2>&1; then
      found+=("$entry")
    else
      log "host ${entry%%:*} does not answer"
    fi
  done
  local IFS=,
  printf '%s' "${found[*]}"
}

slot_sum() {
  tr ',' '\n' <<<"$1" | awk -F: '{ sum += NF > 1 ? $2 : 1 } END { print sum + 0 }'
}

# The newest checkpoint of the run, which tells progress; nothing before the first.
output=""
for ((i = 0; i < ${#arguments[@]}; i++)); do
  case ${arguments[i]} in
    --output) output=${arguments[i + 1]-} ;;
    --output=*) output=${arguments[i]#*=} ;;
  esac
done
newest_checkpoint() {
  [ -z "$output" ] || find "$output/checkpoints" -maxdepth 1 -name 'step-*' 2>/dev/null | sort | tail -n 1 || true
}

# A signal, or the loss of the terminal, ends the job with a checkpoint, and then this script.
forward_signals TERM TERM USR1 INT HUP
first_back_off=$back_off
longest_back_off=600

attempt=0
while true; do
  where=()
  count=$ranks
  if [ -n "$host" ]; then
    alive=$(answering_hosts)
    [ -n "$alive" ] || log "no host answers"
    slots=$(slot_sum "$alive")
    [ "$count" -le "$slots" ] || count=$slots
    where=(--host "$alive")
  fi
  # Fewer ranks must still divide the lanes.
  while [ "$count" -gt 0 ] && [ "$count" -lt "$ranks" ] &&
    ! "$repository/cluster/launch.sh" -n "$count" "${where[@]}" "${options[@]}" -- "${arguments[@]}" --resume auto \
      --dry-run >/dev/null 2>&1; do
    count=$((count - 1))
  done
  status=1
  if [ "$count" -gt 0 ]; then
    log "start $((attempt + 1)) of at most $((restarts + 1)): $count ranks${host:+ on $alive}"
    before=$(newest_checkpoint)
    (outliving TERM "$repository/cluster/launch.sh" -n "$count" "${where[@]}" "${options[@]}" -- "${arguments[@]}" \
      --resume auto) &
    job=$!
    status=0
    await_job || status=$?
    job=""
    log "the job has ended with status $status"
  fi
  case $status in
    0 | 64 | 75) exit "$status" ;;
  esac
  [ "$signals" -eq 0 ] || exit "$status"
  [ "$count" -eq 0 ] || [ "$(newest_checkpoint)" = "$before" ] || back_off=$first_back_off
  if [ "$attempt" -ge "$restarts" ]; then
    again=(${MILM:+env "MILM=$MILM"} "$0" -n "$ranks" ${host:+--host "$host"} "${options[@]}" -- "${arguments[@]}")
    log "given up after $attempt restarts; continue with:$(printf ' %q' "${again[@]}")"
    exit "$status"
  fi
  attempt=$((attempt + 1))
  log "restart $attempt of $restarts in $back_off s"
  sleep "$back_off" &
  wait $! || true
  [ "$signals" -eq 0 ] || exit 75
  back_off=$((back_off * 2 < longest_back_off ? back_off * 2 : longest_back_off))
done
