#!/usr/bin/env bash
# A cluster on one machine: hosts with a network, a host name and, on request, directories of their own.
#
#   cluster/lab.sh up --hosts N [--rate 1gbit] [--delay 0.1ms] [--cores N] [--private DIRECTORY…]
#   cluster/lab.sh run [-n RANKS] [--hosts-used N] [--slots N] -- milm train CONFIG.yaml --corpus CORPUS --output RUN
#   cluster/lab.sh on HOST -- COMMAND…       # one command on one host; hosts count from 1
#   cluster/lab.sh link HOST up|down         # connects or disconnects a host
#   cluster/lab.sh rate RATE                 # changes the rate of all links and measures it
#   cluster/lab.sh status | down | check     # check: states in one line why this machine does not allow a lab
#
# A host is a set of Linux namespaces, joined to the others by a switch in a namespace of its own: the machine's own
# network is not touched. Needs root.
# --rate       bandwidth of each link in each direction (default 1gbit)
# --delay      one-way latency (default none; it needs netem in the kernel)
# --cores      cores per host (default: the machine's cores divided by the hosts, at least one)
# --private    gives each host its own copy of the directory in memory, made at `up`, as if no file system were shared.
#              What hosts write to it is lost at `down`; take it out with
#              cluster/lab.sh on 1 -- tar -cC DIRECTORY . | tar -xC …
# `run` starts mpirun on host 1 through cluster/launch.sh, with --slots ranks per host (default 1) on --hosts-used hosts
# (default: as many as -n needs, or all). `milm` is $MILM or .build/release/milm; other programs are taken from PATH.
# MILM_LAB is the lab's name (default lab): labs of different names can be up at the same time.
set -euo pipefail

repository=$(dirname "$(dirname "$(realpath "$0")")")
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$repository/cluster/common.sh"
name=${MILM_LAB:-lab}
# The lab's state. Hosts see it too: Open MPI's launch agent is in it, and `private` is memory of each host's own.
state=/run/milm-$name
subnet=10.77.0

# bits RATE : bits per second of a rate in tc's notation; nothing if it is not one.
bits() {
  [[ $1 =~ ^([1-9][0-9]{0,5})(k|m|g)bit$ ]] || return 0
  case ${BASH_REMATCH[2]} in
    k) echo $((BASH_REMATCH[1] * 1000)) ;;
    m) echo $((BASH_REMATCH[1] * 1000000)) ;;
    g) echo $((BASH_REMATCH[1] * 1000000000)) ;;
  esac
}

expect_rate() {
  [ -n "$(bits "$1")" ] || usage_error "expected a rate such as 1gbit or 100mbit, found '$1'"
}

# The namespaces of the switch. Its first process is the parent of all of the lab's: they end with it.
rack_namespaces=(--net --mount --pid --fork)
# The namespaces of a host. The lab has one PID namespace: mpirun's agent enters one host from another.
host_namespaces=(--net --mount --uts --ipc)

# check [DELAY] : fails with one line if this machine does not allow a lab, or a delay.
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

# rack : the pid of the process that holds the lab; fails if it has ended, even if its pid was reused.
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
  { is_count "$1" && [ ${#1} -le 3 ] && [ "$1" -le "$(<"$state/count")" ]; } ||
    usage_error "expected a host from 1 to $(<"$state/count"), found '$1'"
}

# Keeps namespaces alive and reaps processes in them. It writes its pid, as its parent's /proc has it, when it is ready, and
# ends when the lab's directory is gone, so that neither a killed `up` nor a directory removed by hand leaves it behind.
# shellcheck disable=SC2016  # The inner shell expands its own variables.
hold='read -r pid _ </proc/self/stat && mount -t proc proc /proc && echo "$pid" >"$1.new" && mv "$1.new" "$1" || exit 1
  while [ -e "$1" ]; do sleep 2 & wait; done'

# close_inherited : closes all open files except the standard ones and the shell's own.
close_inherited() {
  local path number
  for path in "/proc/$BASHPID/fd/"*; do
    number=${path##*/}
    if [ "$number" -gt 2 ] && [ "$number" -ne 255 ]; then
      exec {number}>&-
    fi
  done
}

# start_holder FILE COMMAND… : starts a holder in the namespaces that COMMAND creates and writes its pid to FILE.
start_holder() {
  local file=$1 attempt
  shift
  (
    # It outlives the caller, whose own caller may wait until inherited files are closed.
    close_inherited
    "$@" bash -c "$hold" milm-lab "$file" </dev/null >/dev/null 2>>"$state/log"
  )
  for ((attempt = 0; attempt < 500; attempt++)); do
    [ ! -s "$file" ] || return 0
    sleep 0.02
  done
  fail "expected a new namespace within 10 seconds, found none: $(tail -n 1 "$state/log")"
}

# in_rack COMMAND… : runs a command in the switch's namespaces.
in_rack() {
  # With --pid nsenter would fork, stop itself when its child stops, and not wake up with it.
  # shellcheck disable=SC2016  # The inner shell expands its own arguments.
  setpriv --pdeathsig TERM nsenter --target "$(<"$state/rack.pid")" --net --mount --pid --no-fork -- \
    sh -c '"$@"; exit $?' lab "$@"
}

# in_host HOST COMMAND… : runs a command on a host and its cores, in the caller's directory; it ends with its caller.
in_host() {
  local host=$1
  shift
  # shellcheck disable=SC2016  # The inner shell expands its own arguments.
  in_rack taskset --cpu-list "$(<"$state/host-$host.cores")" \
    nsenter --target "$(<"$state/host-$host.pid")" "${host_namespaces[@]}" -- \
    setpriv --pdeathsig TERM sh -c 'cd "$1" && shift && exec "$@"' lab "$PWD" "$@"
}

# shape DEVICE DELAY : the commands that set the rate of one end of a link, with a burst of one millisecond.
shape() {
  local burst=$(($(bits "$rate") / 8000)) place=root
  # A burst below the size of one segmentation-offload packet would block it for ever.
  [ "$burst" -ge 16000 ] || burst=16000
  if [ -n "$2" ]; then
    printf 'tc qdisc replace dev %s root handle 1: netem delay %s limit 100000\n' "$1" "$2"
    place="parent 1:1"
  fi
  printf 'tc qdisc replace dev %s %s handle 2: tbf rate %s burst %d latency 50ms\n' "$1" "$place" "$rate" "$burst"
}

# shape_links : sets every link's rate at both ends, and the delay at the host's end.
shape_links() {
  local host
  for ((host = 1; host <= $(<"$state/count"); host++)); do
    in_rack sh -ec "$(shape "port$host" "")"
    in_host "$host" sh -ec "$(shape eth0 "$(<"$state/delay")")"
  done
  printf '%s\n' "$rate" >"$state/rate"
}

# add_host HOST : creates a host with its network, name and directories, connected to the switch.
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

# write_state : writes what hosts and later commands read.
write_state() {
  mkdir "$state/private"
  printf '%s\n' "$host_count" >"$state/count"
  printf '%s\n' "$delay" >"$state/delay"
  printf '%s\n' "${private[@]}" >"$state/directories"
  {
    echo "127.0.0.1 localhost"
    for ((host = 1; host <= host_count; host++)); do
      echo "$subnet.$host $name-$host"
    done
  } >"$state/hosts"
  assign_cores
  # Open MPI starts its daemon on another host with this instead of ssh: HOST COMMAND-LINE. As with ssh, a daemon inherits
  # no open files: it outlives its mpirun when it is disconnected.
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

# assign_cores : writes each host's cores, assigned round-robin from those that this process may use.
assign_cores() {
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

# One plain TCP stream for a second: `receive ADDRESS` answers with the rate that arrived, `send ADDRESS` prints it.
stream_program='
import socket, sys, time
role, address = sys.argv[1], (sys.argv[2], 7571)
block = bytearray(1 << 18)
if role == "receive":
    with socket.create_server(address) as server:
        server.settimeout(20)
        connection, _ = server.accept()
    byte_count, start = 0, None
    while count := connection.recv_into(block):
        end = time.monotonic()
        # The first block was buffered: the clock starts at its arrival.
        byte_count, start = (byte_count + count, start) if start else (0, end)
    connection.sendall(b"%.0f Mbit/s" % (byte_count * 8e-6 / (end - start)))
else:
    deadline = time.monotonic() + 10
    while True:
        try:
            connection = socket.create_connection(address, timeout=20)
            break
        except ConnectionRefusedError:
            # The receiver starts at the same time.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)
    print(connection.recv(64).decode())
'

# stream FROM TO : the throughput of a plain TCP stream between two hosts.
stream() {
  in_host "$2" python3 -c "$stream_program" receive "$subnet.$2" 2>>"$state/log" &
  in_host "$1" python3 -c "$stream_program" send "$subnet.$2" 2>>"$state/log"
  wait "$!"
}

# report_link : measures plain TCP from host 1 to the last host and back.
report_link() {
  local last there back
  last=$(<"$state/count")
  [ "$last" -gt 1 ] || return 0
  { there=$(stream 1 "$last") && back=$(stream "$last" 1); } ||
    fail "expected TCP between host 1 and host $last, found none: $(tail -n 1 "$state/log")"
  printf 'lab: links of %s; plain TCP from %s-1 to %s-%d reaches %s, back %s\n' \
    "$rate" "$name" "$name" "$last" "$there" "$back" >&2
}

up() {
  host_count="" rate=1gbit delay="" core_count=""
  local directories=() private=() directory path
  read_options "--hosts=host_count --rate=rate --delay=delay --cores=core_count --private=directories+" "$@"
  for directory in "${directories[@]}"; do
    { path=$(realpath -e -- "$directory" 2>/dev/null) && [ -d "$path" ] && [ "$path" != / ]; } ||
      usage_error "expected directories after --private, found '$directory'"
    private+=("$path")
  done
  { is_count "$host_count" && [ ${#host_count} -le 3 ] && [ "$host_count" -le 200 ]; } ||
    usage_error "expected --hosts from 1 to 200, found '$host_count'"
  [ -z "$core_count" ] || is_count "$core_count" || usage_error "expected a number after --cores, found '$core_count'"
  [[ $delay =~ ^([0-9]+(\.[0-9]+)?(us|ms|s))?$ ]] || usage_error "expected a delay such as 0.1ms, found '$delay'"
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

# set_rate RATE : of every link.
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
  [ "${2-}" = up ] || [ "${2-}" = down ] || usage_error "expected up or down, found '${2-}'"
  in_rack ip link set "port$1" "$2"
}

on() {
  expect_up
  expect_host "${1-}"
  { [ "${2-}" = -- ] && [ $# -gt 2 ]; } || usage_error "expected on HOST -- COMMAND…"
  local host=$1
  shift 2
  in_host "$host" "$@"
}

run() {
  local rank_count="" used="" slots=1 host hosts=()
  expect_up
  read_options "-n=rank_count --hosts-used=used --slots=slots --" "$@"
  [ ${#remaining[@]} -gt 0 ] || usage_error "expected -- and a command such as milm train …, found none"
  is_count "$slots" || usage_error "expected a number after --slots, found '$slots'"
  [ -z "$rank_count" ] || is_count "$rank_count" || usage_error "expected a number after -n, found '$rank_count'"
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
  [ "${remaining[0]}" = milm ] || program=$(command -v "${remaining[0]}") ||
    fail "expected a program, found none named ${remaining[0]}"
  in_host 1 env "${mpi[@]}" MILM="$(realpath "$program")" "$repository/cluster/launch.sh" \
    -n "${rank_count:-$((used * slots))}" --host "$(IFS=, && echo "${hosts[*]}")" -- "${remaining[@]:1}"
}

# Open MPI's settings: only the lab's links between hosts, and its files where they are removed with the lab.
mpi=(OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_agent="$state/agent" OMPI_MCA_pml=ob1 OMPI_MCA_btl='tcp,vader,self'
  OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_oob_tcp_if_include=eth0 OMPI_MCA_orte_tmpdir_base="$state/private"
  OMPI_MCA_btl_vader_backing_directory="$state/private" OMPI_MCA_btl_sm_backing_directory="$state/private"
  OMPI_MCA_osc_sm_backing_directory="$state/private")

status() {
  expect_up
  local host
  printf 'lab: %s has %d hosts, links of %s%s\n' "$name" "$(<"$state/count")" "$(<"$state/rate")" \
    "$(sed 's/./ with a delay of &/' "$state/delay")"
  for ((host = 1; host <= $(<"$state/count"); host++)); do
    printf '%s-%d  %s.%d  cores %s\n' "$name" "$host" "$subnet" "$host" "$(<"$state/host-$host.cores")"
  done
  sed -n 's/./each with its own &/p' "$state/directories"
}

# down : ends every process of the lab and with them its namespaces, links and mounts; then removes its directory.
down() {
  local status=$? pid attempt
  [ -d "$state" ] || return "$status"
  # If `up` was killed right after it started the rack, the pid appears in a moment.
  for ((attempt = 0; attempt < 50; attempt++)); do
    ! [ -s "$state/rack.pid" ] || break
    sleep 0.02
  done
  # Also kills callers that wait outside for a command in the lab: stopped ones would keep zombies.
  if pid=$(rack) && [ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ]; then
    pkill -KILL --ns "$pid" --nslist net . || true
    while grep -qs '^State:.[^Z]' "/proc/$pid/status"; do
      sleep 0.02
    done
  fi
  rm -rf "$state"
  return "$status"
}

[[ $name =~ ^[a-z][a-z0-9]{0,19}$ ]] || usage_error "MILM_LAB: expected up to 20 lower-case letters and digits, found '$name'"
command=${1-}
[ $# -eq 0 ] || shift
case $command in
  up | run | on | link | status | down) "$command" "$@" ;;
  rate) set_rate "$@" ;;
  check) check "$@" ;;
  -h | --help) print_help ;;
  *) usage_error "expected up, run, on, link, rate, status, down or check, found '$command'; see --help" ;;
esac
