#!/usr/bin/env bash
# Installs what building and running milm needs on Debian 12 or newer (or a derivative), and only what is missing.
#
#   cluster/install.sh [PACKAGE…]           # additional Debian packages
#   cluster/install.sh --node [--program FILE] [PACKAGE…]
#                                           # for a node that only runs milm, built on the same Debian with
#                                           # swift build -c release --static-swift-stdlib: no compiler, no Swift;
#                                           # the libraries are those that the program is linked with
#                                           # (default: .build/release/milm, where it is there)
#   cluster/install.sh --dry-run …          # simulates the installation and prints the packages
#
# The MPI library is Open MPI or MPICH: what MILM_MPI says (openmpi, mpich), else what is installed, Open MPI by default; on a
# node, the one that the program is linked with.
# Never prompts: as root it installs, otherwise through sudo; if neither is possible it lists what to install and fails.
# Swift is not a Debian package: if it is missing or too old, one line says how to get it.
set -euo pipefail

swift_needed=6.2

fail() {
  printf 'install: %s\n' "$1" >&2
  exit "${2:-1}"
}

# This script stands alone: a container's build copies it before anything else.
only_runs="" dry_run="" program=${MILM:-$(dirname "$(dirname "$(realpath "$0")")")/.build/release/milm}
is_program_named=${MILM:+1}
while [[ ${1-} == -* ]]; do
  case $1 in
    -h | --help)
      awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
      exit 0
      ;;
    --node) only_runs=1 ;;
    --dry-run) dry_run=1 ;;
    --program)
      [ -n "${2-}" ] || fail "expected a file after --program, found none" 64
      program=$2 is_program_named=1
      shift
      ;;
    *) fail "expected --node, --program, --dry-run or packages, found $1" 64 ;;
  esac
  shift
done
[ -z "$is_program_named" ] || [ -z "$only_runs" ] || [ -r "$program" ] ||
  fail "expected the program at $program, found none" 64

# A requirement is a package, a library by the name that programs are linked with, or alternatives: a|b. Libraries are found
# whatever a release calls their packages: libcurl.so.4 is in libcurl4 or libcurl4t64, libdnnl.so.3 in libdnnl3.6.

is_installed() {
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The library's packages for building and for mpirun.
mpi=${MILM_MPI:-}
if [ -n "$only_runs" ] && ldd "$program" 2>/dev/null | grep -q 'libmpich\|libmpi\.so'; then
  mpi=openmpi
  ! ldd "$program" | grep -q libmpich || mpi=mpich
elif [ -z "$mpi" ] && is_installed libmpich-dev && ! is_installed libopenmpi-dev; then
  mpi=mpich
fi
case ${mpi:-openmpi} in
  openmpi) mpi_libraries=(libopenmpi-dev) mpi_launcher=(openmpi-bin) ;;
  mpich) mpi_libraries=(libmpich-dev) mpi_launcher=(mpich) ;;
  # Another library comes from elsewhere.
  *) mpi_libraries=() mpi_launcher=() ;;
esac

# The libraries milm is linked with, and mpirun.
required=("${mpi_libraries[@]}" "${mpi_launcher[@]}" libopenblas-dev libzstd-dev zlib1g-dev pkg-config)
# What the Swift toolchain needs to run and to link: the C and C++ libraries, a linker, and the libraries of its package
# manager; with --static-swift-stdlib milm itself is linked with curl.
required+=(binutils gcc libc6-dev g++ git ca-certificates tzdata
  libcurl4-openssl-dev libedit2 libncurses6 libsqlite3-0 libuuid1 'libxml2|libxml2-16')
# oneDNN computes bfloat16 products; without it OpenBLAS computes all in fp32.
optional=(libdnnl-dev)
# Python fetches the quickstart's text.
required+=(python3 python3-pip)
if [ -n "$only_runs" ]; then
  # mpirun reaches a node by ssh; curl and the certificates are for downloads.
  required=("${mpi_launcher[@]}" libopenblas.so.0 libzstd.so.1 libz.so.1 libcurl.so.4 ca-certificates openssh-client openssh-server)
  # A program that is linked with oneDNN needs its own version of it.
  optional=('libdnnl.so.3|libdnnl.so.2')
  [ ! -r "$program" ] || optional=()
fi
[ -z "${MILM_WITHOUT_ONEDNN:-}" ] || optional=()
required+=("$@")

# library_packages SONAME : the packages that may contain it, by Debian's rules for their names, the likeliest first.
library_packages() {
  local stem=${1%%.so*} version=${1##*.so.} name rest='([.][0-9]+)*(t64)?'
  case $1 in
    libc.so.* | libm.so.*) name=libc6 ;;
    libmpi.so.*) name=libopenmpi rest='[0-9]+(t64)?' ;;
    libz.so.1) name=zlib1g ;;
    libxml2.so.2) name=libxml2 ;;
    *)
      stem=${stem,,} stem=${stem//_/-}
      [[ $stem != *[0-9] ]] || stem+=-
      name=$stem$version
      ;;
  esac
  grep -E "^${name//+/[+]}$rest\$" <<<"$known" | sort -rV || true
}

# The packages that apt knows.
known=""

list_known() {
  known=$(apt-cache pkgnames)
}

# expand REQUIREMENT : the packages that fulfil it, one per line, the preferred first.
expand() {
  local alternatives alternative
  IFS='|' read -r -a alternatives <<<"$1"
  for alternative in "${alternatives[@]}"; do
    if [[ $alternative == *.so.* ]]; then library_packages "$alternative"; else printf '%s\n' "$alternative"; fi
  done
}

# What is installed, and what that provides.
installed=""

list_installed() {
  installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Package} ${Provides}\n' 2>/dev/null |
    sed -n 's/^installed //p' | sed 's/([^)]*)//g; s/[ ,]\+/\n/g' | sort -u)
}

is_fulfilled() {
  local package
  for package in $(expand "$1"); do
    ! grep -Fxq -- "$package" <<<"$installed" || return 0
  done
  return 1
}

# missing_of REQUIREMENT… : those that nothing installed fulfils, one per line.
missing_of() {
  local requirement
  for requirement in "$@"; do
    is_fulfilled "$requirement" || printf '%s\n' "$requirement"
  done
}

# available REQUIREMENT : the first of its packages that apt can install; fails where there is none.
available() {
  local package packages
  mapfile -t packages < <(expand "$1")
  # It may be provided by another; apt says so if it is not.
  [[ $1 != *.so.* ]] && [ ${#packages[@]} -eq 1 ] && printf '%s\n' "${packages[0]}" && return
  for package in "${packages[@]}"; do
    ! grep -Fxq -- "$package" <<<"$known" || { printf '%s\n' "$package" && return; }
  done
  return 1
}

# Without a terminal nobody can enter sudo's password.
can_sudo() {
  command -v sudo >/dev/null || return 1
  sudo -n true 2>/dev/null || [ -t 0 ]
}

# SwiftPM caches evaluated manifests, and with them the absence of oneDNN or of an MPI library.
clear_manifest_cache() {
  rm -rf "${XDG_CACHE_HOME:-$HOME/.cache}/org.swift.swiftpm/manifests"
}

as_root=()

find_root() {
  [ -z "$dry_run" ] || return 0
  [ ${#as_root[@]} -eq 0 ] || return 0
  [ "$(id -u)" -eq 0 ] || can_sudo || return 1
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  as_root+=(env DEBIAN_FRONTEND=noninteractive)
}

apt_get() {
  local log status=0
  log=$(mktemp)
  "${as_root[@]}" apt-get "$@" >"$log" 2>&1 </dev/null || { status=$?; tail -n 20 "$log" >&2; }
  rm -f "$log"
  return $status
}

is_updated=$dry_run

update_lists() {
  [ -z "$is_updated" ] || return 0
  apt_get update -q || fail "apt-get update failed; its last lines are above"
  list_known
  is_updated=1
}

install_now() {
  printf 'install: %s\n' "$*" >&2
  [ -z "$dry_run" ] || printf '%s\n' "$@"
  apt_get install ${dry_run:+-s} -q -y --no-install-recommends "$@"
}

# install_required REQUIREMENT…
install_required() {
  local requirement package packages=()
  if ! find_root; then
    for requirement in "$@"; do packages+=("$(available "$requirement" || printf '%s\n' "$requirement")"); done
    fail "expected root or sudo, found neither; as root: apt-get install ${packages[*]}"
  fi
  update_lists
  for requirement in "$@"; do
    package=$(available "$requirement") || fail "expected a package for $requirement, found none that apt can install"
    packages+=("$package")
  done
  install_now "${packages[@]}" || fail "apt-get install failed; its last lines are above"
  [ -n "$dry_run$only_runs" ] || clear_manifest_cache
  list_installed
}

# install_optional REQUIREMENT…
install_optional() {
  local requirement package
  if ! find_root; then
    printf 'install: neither root nor sudo: continuing without %s\n' "$*" >&2
    return
  fi
  update_lists
  for requirement in "$@"; do
    if package=$(available "$requirement") && install_now "$package"; then
      clear_manifest_cache
    else
      printf 'install: continuing without %s\n' "$requirement" >&2
    fi
  done
}

install_packages() {
  local missing missing_optional
  list_known
  list_installed
  mapfile -t missing < <(missing_of "${required[@]}")
  mapfile -t missing_optional < <(missing_of ${optional[@]+"${optional[@]}"})
  if [ ${#missing[@]} -eq 0 ] && [ ${#missing_optional[@]} -eq 0 ]; then
    printf 'install: all %d Debian packages are installed\n' ${#required[@]} >&2
    return
  fi
  [ ${#missing[@]} -eq 0 ] || install_required "${missing[@]}"
  [ ${#missing_optional[@]} -eq 0 ] || install_optional "${missing_optional[@]}"
}

# missing_libraries : the names of libraries that the program is linked with and that are not there.
missing_libraries() {
  ldd "$program" 2>/dev/null | sed -n 's/^[[:space:]]*\([^ ]*\) => not found.*/\1/p' | sort -u
}

# Libraries of libraries come with their packages, so one round is enough.
install_libraries() {
  local missing newer
  newer=$(ldd "$program" 2>&1 | grep -oE "version .(GLIBC|GLIBCXX|GOMP|CXXABI)_[0-9.]+. not found" | sort -V | tail -n 1 || true)
  [ -z "$newer" ] || fail "expected a program built on this Debian or an older one, found one that needs more: $newer"
  mapfile -t missing < <(missing_libraries)
  [ ${#missing[@]} -gt 0 ] || return 0
  [[ ${missing[*]} != *libswift* ]] ||
    fail "expected a program built with --static-swift-stdlib, found one that needs ${missing[*]}"
  install_required "${missing[@]}"
  [ -z "$dry_run" ] || return 0
  mapfile -t missing < <(missing_libraries)
  [ ${#missing[@]} -eq 0 ] || fail "expected the libraries of $program, found no ${missing[*]}"
}

check_swift() {
  local get="see https://www.swift.org/install/linux (swiftly install latest)"
  command -v swift >/dev/null || fail "expected Swift $swift_needed or newer, found none: $get"
  local version
  version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9.]*\).*/\1/p')
  [ -n "$version" ] || fail "expected Swift $swift_needed or newer, found one that does not start: $get"
  [ "$(printf '%s\n' "$swift_needed" "$version" | sort -V | head -n 1)" = "$swift_needed" ] ||
    fail "expected Swift $swift_needed or newer, found $version: $get"
  printf 'install: Swift %s\n' "$version" >&2
}

command -v dpkg-query >/dev/null || fail "expected Debian or a derivative, found no dpkg; install ${required[*]}"
install_packages
if [ -n "$only_runs" ]; then
  [ ! -r "$program" ] || install_libraries
elif [ -z "$dry_run" ]; then
  check_swift
fi
