# shellcheck shell=bash
# What each MPI library's launcher is told, for launch.sh: functions that add to `flags` from its options.
# shellcheck disable=SC2154  # Variables are those of launch.sh.

# mpi_family LIBRARIES : the MPI library among those that a program is linked with, openmpi or mpich; else as MILM_MPI says.
#
# Relatives of MPICH, such as Intel MPI, keep its library's number.
mpi_family() {
  if [[ $1 =~ libmpich|libmpi[a-z0-9_]*\.so\.12 ]]; then
    echo mpich
  elif [[ $1 == *libmpi.so* || ${MILM_MPI:-openmpi} == openmpi ]]; then
    echo openmpi
  else
    echo mpich
  fi
}

# mpirun_of FAMILY : the name of its launcher; `mpirun` may be another library's where several are installed.
mpirun_of() {
  local name names=(mpirun.mpich mpiexec.hydra) default
  default=$(realpath "$(command -v mpirun)" 2>/dev/null) || true
  [ "$1" = mpich ] || names=(mpirun.openmpi)
  if [ "$1" = mpich ] || [[ $default == *mpich* || $default == *hydra* ]]; then
    for name in "${names[@]}"; do
      ! command -v "$name" >/dev/null || { echo "$name" && return; }
    done
  fi
  echo mpirun
}

# set_variable NAME VALUE : for milm on every host.
flags=() shown=()
set_variable() {
  export "$1=$2"
  shown+=("$1=$2")
  pass_variable "$1"
}

# pass_variable NAME : mpirun of Open MPI passes on its own variables alone; srun and MPICH pass on all.
pass_variable() {
  [ "$starter" = srun ] || [ "$family" = mpich ] || [[ $1 == OMPI_* || $1 == PRTE_* ]] || flags+=(-x "$1")
}

srun_flags() {
  # Ranks that end with a checkpoint's status end one after the other: the last must not be killed meanwhile.
  flags+=(--mpi="$([ "$family" = mpich ] && echo pmi2 || echo pmix)" --cpu-bind=cores --wait=60)
  [ -z "$threads" ] || flags+=("--cpus-per-task=$threads")
}

openmpi_flags() {
  if [ -n "$on_many_hosts" ]; then
    [ -z "$hostfile" ] || flags+=(--hostfile "$hostfile")
    [ -z "$host" ] || flags+=(--host "$host")
    if [ -n "$threads" ]; then flags+=(--map-by "slot:PE=$threads"); else flags+=(--bind-to none); fi
    # mpirun gives up on a host that has not answered for 20 seconds; by default it waits forever, even after all ranks have
    # ended. Less than milm's own limit of 30 s: once mpirun has told the host to end, it waits for 15 minutes.
    set_variable OMPI_MCA_oob_tcp_keepalive_time "${OMPI_MCA_oob_tcp_keepalive_time:-10}"
    set_variable OMPI_MCA_oob_tcp_keepalive_intvl "${OMPI_MCA_oob_tcp_keepalive_intvl:-5}"
    set_variable OMPI_MCA_oob_tcp_keepalive_probes "${OMPI_MCA_oob_tcp_keepalive_probes:-2}"
  else
    flags+=(--bind-to none)
  fi
  [ -z "$slots" ] || [ "$slots" -ge "$ranks" ] || flags+=(--oversubscribe)
}

# Open MPI's variables, for mpirun and for srun.
openmpi_variables() {
  local pair old new value
  if [ -n "$interface" ]; then
    set_variable OMPI_MCA_pml ob1
    set_variable OMPI_MCA_btl tcp,vader,self
    set_variable OMPI_MCA_btl_tcp_if_include "$interface"
    set_variable OMPI_MCA_oob_tcp_if_include "$interface"
  fi
  # Open MPI 5's launcher is PRRTE, which ignores Open MPI 4's names for it: NAME-OF-4=NAME-OF-5.
  for pair in plm=plm plm_rsh_agent=plm_ssh_agent plm_rsh_args=plm_ssh_args orte_tmpdir_base=prte_tmpdir_base \
    oob_tcp_if_include=prte_if_include oob_tcp_keepalive_time=oob_tcp_keepalive_time \
    oob_tcp_keepalive_intvl=oob_tcp_keepalive_intvl oob_tcp_keepalive_probes=oob_tcp_keepalive_probes; do
    old=OMPI_MCA_${pair%=*} new=PRTE_MCA_${pair#*=}
    if [ -n "${!old-}" ] && [ -z "${!new-}" ]; then
      value=${!old}
      [ "$pair" != plm=plm ] || value=${value/#rsh/ssh}
      set_variable "$new" "$value"
    fi
  done
  # Otherwise Open MPI 5 warns about every pair of addresses of different families.
  [ -n "${OMPI_MCA_reachable-}" ] || [ -z "$on_many_hosts" ] || set_variable OMPI_MCA_reachable weighted
  if [ "$(id -u)" -eq 0 ] && [ "$starter" != srun ]; then
    set_variable OMPI_ALLOW_RUN_AS_ROOT 1
    set_variable OMPI_ALLOW_RUN_AS_ROOT_CONFIRM 1
  fi
}

# host_list : the hosts of --hostfile or --host as MPICH's launcher, Hydra, takes them: NAME:SLOTS,…
host_list() {
  if [ -n "$hostfile" ]; then
    sed 's/#.*//; s/^[[:space:]]*//; s/[[:space:]]*slots *= */:/; s/[[:space:]].*//; /^$/d' "$hostfile" | paste -sd ,
  else
    printf '%s\n' "$host"
  fi
}

# Hydra passes on all variables, starts more ranks than there are slots, and has no time limit for a host that is lost.
mpich_flags() {
  local list
  if [ -n "$hostfile$host" ]; then
    list=$(host_list)
    [[ $list != *'*'* && $list != *auto* ]] ||
      usage_error "expected the number of slots of each host with MPICH, as in node1:2, found $list"
    flags+=(-hosts "$list")
  fi
  if [ -n "$on_many_hosts" ] && [ -n "$threads" ]; then
    flags+=(-bind-to "core:$threads")
  else
    flags+=(-bind-to none)
  fi
  [ -z "$interface" ] || flags+=(-iface "$interface")
  # rsh: any agent that takes a host and a command, without ssh's options.
  [ -z "${OMPI_MCA_plm_rsh_agent-}" ] || flags+=(-launcher rsh -launcher-exec "$OMPI_MCA_plm_rsh_agent")
}

mpich_variables() {
  local ignored
  if [ -n "$interface" ]; then
    [[ $interface != */* ]] || usage_error "expected an interface's name with MPICH, such as eth0, found $interface"
    # Of MPICH's devices: UCX, libfabric, and sockets.
    set_variable UCX_NET_DEVICES "$interface"
    set_variable FI_TCP_IFACE "$interface"
    set_variable MPIR_CVAR_CH3_NETWORK_IFACE "$interface"
  fi
  ignored=$(compgen -e | grep -E '^(OMPI|PRTE)_MCA_' | grep -vx OMPI_MCA_plm_rsh_agent | paste -sd ' ') || true
  [ -z "$ignored" ] || say 'launch: MPICH ignores settings of Open MPI: %s\n' "$ignored"
}

# openblas_core PROGRAM : kernels with AVX for a processor that OpenBLAS does not know, for which it takes its oldest; nothing
# where it knows it. As `milm doctor` advises.
openblas_core() {
  local core instructions
  core=$(OPENBLAS_VERBOSE=2 "$1" --version 2>&1 </dev/null | sed -n 's/^Core: //p') || true
  [[ $core =~ ^(Prescott|Core2|Penryn|Dunnington|Nehalem|Barcelona)$ ]] || return 0
  instructions=$(grep -m 1 '^flags' /proc/cpuinfo) || true
  # All processors with these have the other AVX-512 instructions of the kernels.
  case " $instructions " in
    *' avx512_vnni '*) echo SkylakeX ;;
    *' avx2 '*) echo Haswell ;;
  esac
}

# mpich_status STATUS : the exit status as Open MPI has it; Hydra's is the signal that ended a rank.
mpich_status() {
  if [ "$1" -gt 1 ] && [ "$1" -lt 32 ]; then echo $((128 + $1)); else echo "$1"; fi
}
