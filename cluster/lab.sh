#!/usr/bin/env bash
# A cluster on one machine: hosts that have a network, a host name and, where asked, folders of their own.
#
#   cluster/lab.sh up --hosts N [--rate 1gbit] [--delay 0.1ms] [--cores N] [--private FOLDER…]
#   cluster/lab.sh run [-n RANKS] [--hosts-used N] [--slots N] -- milm train CONFIG.yaml --corpus CORPUS --output RUN
#   cluster/lab.sh on HOST -- COMMAND…       # one command on one host; hosts count from 1
#   cluster/lab.sh link HOST up|down         # plugs in a host's cable, or pulls it out
#   cluster/lab.sh rate RATE                 # gives all links another rate, and measures it
#   cluster/lab.sh status | down | check     # check: does this machine allow a lab? In one line why not
#
# A host is a set of Linux namespaces, joined to the others by a switch in a namespace of its own: nothing of it is in the
# machine's own network. A link has --rate each way (default 1gbit) and --delay one way (default none; it needs netem in
# the kernel). A host has the machine's cores divided by the hosts, at least one, or --cores of them.
# --private FOLDER gives every host its own copy in memory, made at `up`: no file system is shared there. What hosts write
# to it is gone after `down`; take it out with: cluster/lab.sh on 1 -- tar -cC FOLDER . | tar -xC ELSEWHERE
# `run` starts mpirun on host 1, through cluster/launch.sh, with --slots ranks a host (default 1) on --hosts-used hosts
# (default as many as -n needs, or all). `milm` is .build/release/milm or $MILM; other programs are taken as they are.
# MILM_LAB is the lab's name (default lab): labs of different names can be up at once. Needs root.
set -euo pipefail

repository=$(dirname "$(dirname "$(realpath "$0")")")
name=${MILM_LAB:-lab}
# What the lab knows of itself. Hosts see it too: the agent is there, and `private` is a memory of each host's own.
state=/run/milm-$name
subnet=10.77.0

# Ends with what is wrong with the command line.
usage() {
  printf 'lab: %s\n' "$1" >&2
  exit 64
}

# Ends with what stands in the way.
fail() {
  printf 'lab: %s\n' "$1" >&2
  exit 1
}

is_count() {
  [[ $1 =~ ^[1-9][0-9]{0,2}$ ]]
}

# bits RATE : bits a second of a rate as tc writes it; nothing where it is none.
bits() {
  [[ $1 =~ ^([1-9][0-9]{0,5})(k|m|g)bit$ ]] || return 0
  case ${BASH_REMATCH[2]} in
    k) echo $((BASH_REMATCH[1] * 1000)) ;;
    m) echo $((BASH_REMATCH[1] * 1000000)) ;;
    g) echo $((BASH_REMATCH[1] * 1000000000)) ;;
  esac
}

expect_rate() {
  [ -n "$(bits "$1")" ] || usage "expected a rate such as 1gbit or 100mbit, found '$1'"
}

# The namespaces of the switch. Its first process holds all others of the lab: its end is theirs.
rack_namespaces=(--net --mount --pid --fork)
# The namespaces of a host. Processes are numbered for the whole lab: mpirun's agent goes from one host to the next.
host_namespaces=(--net --mount --uts --ipc)

# check [DELAY] : ends in one line where this machine does not allow a lab, or not a delay.
check() {
  [ "$(id -u)" -eq 0 ] || fail "expected root, which namespaces need, found user $(id -un)"
  local tool missing=()
  for tool in ip tc unshare nsenter setpriv setsid taskset pkill python3 mpirun; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ ${#missing[@]} -eq 0 ] ||
    fail "expected the tools of iproute2, util-linux, procps, python3 and Open MPI, found no ${missing[*]}"

  local found
  found=$(unshare "${rack_namespaces[@]}" unshare "${host_namespaces[@]}" sh -ec '
    mount -t proc proc /proc
    mount -t tmpfs tmpfs /run
    hostname milm-check
    ip link add switch type bridge
    ip link add port type veth peer name eth0
    tc qdisc add dev port root tbf rate 1gbit burst 125kb latency 50ms' 2>&1) ||
    fail "expected a kernel that allows namespaces with mounts, bridge, veth and tbf, found: ${found%%$'\n'*}"
  [ -z "${1-}" ] || found=$(unshare --net tc qdisc add dev lo root netem delay "$1" 2>&1) ||
    fail "expected netem in the kernel for a delay of $1, found: ${found%%$'\n'*}; without --delay the lab works"
}

# rack : the pid of the process that holds the lab; fails where it is no more, also where its pid was given anew.
rack() {
  local pid
  pid=$(cat "$state/rack.pid" 2>/dev/null) && grep -qaF "$state/rack.pid" "/proc/$pid/cmdline" 2>/dev/null &&
    echo "$pid"
}

expect_up() {
  { [ -e "$state/ready" ] && rack >/dev/null; } ||
    fail "expected a lab that is up, found none; cluster/lab.sh up --hosts N starts one"
}

expect_host() {
  { is_count "$1" && [ "$1" -le "$(<"$state/count")" ]; } ||
    usage "expected a host from 1 to $(<"$state/count"), found '$1'"
}

# Keeps namespaces alive and collects what ends in them. It says its pid, as its parent's /proc has it, when it is ready;
# it ends when the lab's folder is gone, so that none is left behind by an `up` that was killed or a folder removed by hand.
# shellcheck disable=SC2016  # The inner shell expands its own variables.
hold='read -r pid _ </proc/self/stat && mount -t proc proc /proc && echo "$pid" >"$1.new" && mv "$1.new" "$1" || exit 1
  while [ -e "$1" ]; do sleep 2 & wait; done'

# close_inherited : closes every open file but the first three and the shell's own.
close_inherited() {
  local path number
  for path in "/proc/$BASHPID/fd/"*; do
    number=${path##*/}
    if [ "$number" -gt 2 ] && [ "$number" -ne 255 ]; then
      exec {number}>&-
    fi
  done
}

# start_holder FILE COMMAND… : starts a holder in the namespaces that COMMAND makes; FILE then has its pid.
start_holder() {
  local file=$1 attempt
  shift
  (
    # It outlives the caller, who may wait until all that it passed on is closed.
    close_inherited
    "$@" bash -c "$hold" milm-lab "$file" </dev/null >/dev/null 2>>"$state/log"
  )
  for ((attempt = 0; attempt < 500; attempt++)); do
    [ ! -s "$file" ] || return 0
    sleep 0.02
  done
  fail "expected a new namespace within 10 seconds, found none: $(tail -n 1 "$state/log")"
}

# in_rack COMMAND… : runs a command where the switch is.
in_rack() {
  # nsenter would fork for --pid, stop itself where it sees its child stopped, and stay so when both are woken.
  # shellcheck disable=SC2016  # The inner shell expands its own arguments.
  setpriv --pdeathsig TERM nsenter --target "$(<"$state/rack.pid")" --net --mount --pid --no-fork -- \
    sh -c '"$@"; exit $?' lab "$@"
}

# in_host HOST COMMAND… : runs a command on a host and its cores, in the caller's folder; it ends when its caller does.
in_host() {
  local host=$1
  shift
  # shellcheck disable=SC2016  # The inner shell expands its own arguments.
  in_rack taskset --cpu-list "$(<"$state/host-$host.cores")" \
    nsenter --target "$(<"$state/host-$host.pid")" "${host_namespaces[@]}" -- \
    setpriv --pdeathsig TERM sh -c 'cd "$1" && shift && exec "$@"' lab "$PWD" "$@"
}

# shape DEVICE DELAY : the commands that give an end of a link its rate, with a burst of what a millisecond takes.
shape() {
  local burst=$(($(bits "$rate") / 8000)) place=root
  # Less than one segment as the kernel hands it over would never leave.
  [ "$burst" -ge 16000 ] || burst=16000
  if [ -n "$2" ]; then
    printf 'tc qdisc replace dev %s root handle 1: netem delay %s limit 100000\n' "$1" "$2"
    place="parent 1:1"
  fi
  printf 'tc qdisc replace dev %s %s handle 2: tbf rate %s burst %d latency 50ms\n' "$1" "$place" "$rate" "$burst"
}

# shape_links : gives every link its rate at both ends, and the delay at the host's.
shape_links() {
  local host
  for ((host = 1; host <= $(<"$state/count"); host++)); do
    in_rack sh -ec "$(shape "port$host" "")"
    in_host "$host" sh -ec "$(shape eth0 "$(<"$state/delay")")"
  done
  printf '%s\n' "$rate" >"$state/rate"
}

# add_host HOST : a host with its own network and name, its cable in the switch, and its own folders.
add_host() {
  local host=$1 index
  start_holder "$state/host-$host.pid" in_rack setsid --fork unshare "${host_namespaces[@]}"
  in_rack ip link add "port$host" type veth peer name eth0 netns "/proc/$(<"$state/host-$host.pid")/ns/net"
  in_rack ip link set "port$host" master switch up
  in_host "$host" sh -ec "
    hostname $name-$host
    ip link set lo up
    ip addr add $subnet.$host/24 dev eth0
    ip link set eth0 up
    mount --bind $state/hosts /etc/hosts
    mount -t tmpfs -o mode=700 tmpfs $state/private"
  for index in "${!private[@]}"; do
    # shellcheck disable=SC2016  # The inner shell expands its own arguments.
    in_host "$host" sh -ec 'mkdir "$2" && cp -a "$1/." "$2" && mount --bind "$2" "$1"' \
      lab "${private[index]}" "$state/private/$index"
  done
}

# write_state : what hosts and later commands look up.
write_state() {
  mkdir "$state/private"
  printf '%s\n' "$host_count" >"$state/count"
  printf '%s\n' "$delay" >"$state/delay"
  printf '%s\n' "${private[@]}" >"$state/folders"
  {
    echo "127.0.0.1 localhost"
    for ((host = 1; host <= host_count; host++)); do
      echo "$subnet.$host $name-$host"
    done
  } >"$state/hosts"
  deal_cores
  # Open MPI starts its daemon on another host with this, in place of ssh: HOST COMMAND-LINE. As through ssh nothing of
  # the caller's stays open in a daemon, which outlives its mpirun where it is cut off.
  cat >"$state/agent" <<AGENT
#!/bin/bash
$(declare -f close_inherited)
close_inherited
host=\${1##*-}
shift
exec taskset --cpu-list "\$(<$state/host-\$host.cores)" \\
  nsenter --target "\$(<$state/host-\$host.pid)" ${host_namespaces[*]} -- /bin/sh -c "\$*" >>$state/log 2>&1
AGENT
  chmod +x "$state/agent"
}

# deal_cores : writes each host's cores, dealt in turn from those that this process may use.
deal_cores() {
  local cores=() host index mine
  mapfile -t cores < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep="\n")')
  if [ -z "$core_count" ]; then
    core_count=$((${#cores[@]} > host_count ? ${#cores[@]} / host_count : 1))
  fi
  for ((host = 0; host < host_count; host++)); do
    mine=()
    for ((index = 0; index < core_count && index < ${#cores[@]}; index++)); do
      mine+=("${cores[(host * core_count + index) % ${#cores[@]}]}")
    done
    (IFS=, && echo "${mine[*]}") >"$state/host-$((host + 1)).cores"
  done
}

# stream FROM TO : what a plain TCP stream reaches between two hosts.
stream() {
  local program=$repository/cluster/tcp-stream.py
  in_host "$2" python3 "$program" receive "$subnet.$2" 2>>"$state/log" &
  in_host "$1" python3 "$program" send "$subnet.$2" 2>>"$state/log"
  wait "$!"
}

# report_link : checks with plain TCP the way from host 1 to the last host and back, and says what it reaches.
report_link() {
  local last forth back
  last=$(<"$state/count")
  [ "$last" -gt 1 ] || return 0
  { forth=$(stream 1 "$last") && back=$(stream "$last" 1); } ||
    fail "expected TCP between host 1 and host $last, found none: $(tail -n 1 "$state/log")"
  printf 'lab: links of %s; plain TCP from %s-1 to %s-%d reaches %s, back %s\n' \
    "$rate" "$name" "$name" "$last" "$forth" "$back" >&2
}

up() {
  host_count="" rate=1gbit delay="" core_count="" private=()
  local folder
  while [ $# -gt 0 ]; do
    case $1 in
      --hosts) host_count=${2-} ;;
      --rate) rate=${2-} ;;
      --delay) delay=${2-} ;;
      --cores) core_count=${2-} ;;
      --private)
        { folder=$(realpath -e -- "${2-}" 2>/dev/null) && [ -d "$folder" ] && [ "$folder" != / ]; } ||
          usage "expected a folder after --private, found '${2-}'"
        private+=("$folder")
        # More folders may follow the first.
        if [ $# -gt 2 ] && [[ $3 != --* ]]; then
          set -- --private "${@:3}"
          continue
        fi
        ;;
      *) usage "expected --hosts, --rate, --delay, --cores or --private, found $1" ;;
    esac
    shift $(($# < 2 ? $# : 2))
  done
  { is_count "$host_count" && [ "$host_count" -le 200 ]; } ||
    usage "expected --hosts from 1 to 200, found '$host_count'"
  [ -z "$core_count" ] || is_count "$core_count" || usage "expected a number after --cores, found '$core_count'"
  [[ $delay =~ ^([0-9]+(\.[0-9]+)?(us|ms|s))?$ ]] || usage "expected a delay such as 0.1ms, found '$delay'"
  expect_rate "$rate"
  check "$delay"

  mkdir "$state" 2>/dev/null || fail "expected no lab of this name, found one in $state; cluster/lab.sh down ends it"
  trap 'down' EXIT
  write_state
  start_holder "$state/rack.pid" setsid --fork unshare "${rack_namespaces[@]}"
  in_rack sh -ec 'ip link set lo up; ip link add switch type bridge; ip link set switch up'
  local host
  for ((host = 1; host <= host_count; host++)); do
    add_host "$host"
  done
  shape_links
  report_link
  touch "$state/ready"
  trap - EXIT
  status
}

# rate RATE : every link from now on.
set_rate() {
  rate=${1-}
  expect_rate "$rate"
  expect_up
  shape_links
  report_link
}

link() {
  expect_up
  expect_host "${1-}"
  [ "${2-}" = up ] || [ "${2-}" = down ] || usage "expected up or down, found '${2-}'"
  in_rack ip link set "port$1" "$2"
}

on() {
  expect_up
  expect_host "${1-}"
  { [ "${2-}" = -- ] && [ $# -gt 2 ]; } || usage "expected on HOST -- COMMAND…"
  local host=$1
  shift 2
  in_host "$host" "$@"
}

run() {
  local rank_count="" used="" slots=1 host hosts=()
  expect_up
  while [ $# -gt 0 ]; do
    case $1 in
      -n) rank_count=${2-} ;;
      --hosts-used) used=${2-} ;;
      --slots) slots=${2-} ;;
      --) break ;;
      *) usage "expected -n, --hosts-used, --slots or --, found $1" ;;
    esac
    shift $(($# < 2 ? $# : 2))
  done
  { [ "${1-}" = -- ] && [ $# -gt 1 ]; } || usage "expected -- and a command such as milm train …"
  shift
  is_count "$slots" || usage "expected a number after --slots, found '$slots'"
  [ -z "$rank_count" ] || is_count "$rank_count" || usage "expected a number after -n, found '$rank_count'"
  if [ -z "$used" ]; then
    used=$(<"$state/count")
    [ -z "$rank_count" ] || [ $(((rank_count + slots - 1) / slots)) -ge "$used" ] ||
      used=$(((rank_count + slots - 1) / slots))
  fi
  expect_host "$used"
  for ((host = 1; host <= used; host++)); do
    hosts+=("$name-$host:$slots")
  done

  local program=${MILM:-$repository/.build/release/milm}
  [ "$1" = milm ] || program=$(command -v "$1") || fail "expected a program, found none named $1"
  shift
  in_host 1 env "${mpi[@]}" MILM="$(realpath "$program")" "$repository/cluster/launch.sh" \
    -n "${rank_count:-$((used * slots))}" --host "$(IFS=, && echo "${hosts[*]}")" -- "$@"
}

# Open MPI's settings: from host to host through the lab's links alone, and its files where they end with the lab.
mpi=(OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_agent="$state/agent" OMPI_MCA_pml=ob1 OMPI_MCA_btl='tcp,vader,self'
  OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_oob_tcp_if_include=eth0 OMPI_MCA_orte_tmpdir_base="$state/private"
  OMPI_MCA_btl_vader_backing_directory="$state/private" OMPI_MCA_osc_sm_backing_directory="$state/private")

status() {
  expect_up
  local host
  printf 'lab: %s has %d hosts, links of %s%s\n' "$name" "$(<"$state/count")" "$(<"$state/rate")" \
    "$(sed 's/./ with a delay of &/' "$state/delay")"
  for ((host = 1; host <= $(<"$state/count"); host++)); do
    printf '%s-%d  %s.%d  cores %s\n' "$name" "$host" "$subnet" "$host" "$(<"$state/host-$host.cores")"
  done
  sed -n 's/./each with its own &/p' "$state/folders"
}

# down : ends every process of the lab, and with them its namespaces, links and mounts; then removes its folder.
down() {
  local status=$? pid attempt
  [ -d "$state" ] || return "$status"
  # A rack that an `up` was killed right after starting says its pid in a moment.
  for ((attempt = 0; attempt < 50; attempt++)); do
    ! [ -s "$state/rack.pid" ] || break
    sleep 0.02
  done
  # Whoever waits outside for a command of the lab is in the switch's network as well: stopped, it would keep its dead.
  if pid=$(rack) && [ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ]; then
    pkill -KILL --ns "$pid" --nslist net . || true
    while grep -qs '^State:.[^Z]' "/proc/$pid/status"; do
      sleep 0.02
    done
  fi
  rm -rf "$state"
  return "$status"
}

[[ $name =~ ^[a-z][a-z0-9]{0,19}$ ]] || usage "MILM_LAB: expected up to 20 small letters and digits, found '$name'"
command=${1-}
[ $# -eq 0 ] || shift
case $command in
  up | run | on | link | status | down) "$command" "$@" ;;
  rate) set_rate "$@" ;;
  check) check "$@" ;;
  -h | --help) sed -n 's/^# \{0,1\}//; 2,19p' "$0" ;;
  *) usage "expected up, run, on, link, rate, status, down or check, found '$command'; see --help" ;;
esac
