#!/usr/bin/env bash
# Installs what building and running milm needs on Debian 12 (or a relative), and only what is missing.
#
#   cluster/install.sh [PACKAGE…]           # these as well
#   cluster/install.sh --node [PACKAGE…]    # a node that only runs a milm built elsewhere, on the same Debian, with
#                                           # swift build -c release --static-swift-stdlib: no compiler, no Swift
#
# Never asks: as root it installs, otherwise through sudo; where neither is possible it says what to install and fails.
# Swift itself is not a Debian package; where it is missing or too old one line says how to get it.
set -euo pipefail

swift_needed=6.2

only_runs=""
if [ "${1-}" = --node ]; then
  only_runs=1
  shift
fi

# The libraries milm is linked with, and mpirun.
packages=(libopenmpi-dev openmpi-bin libopenblas-dev libzstd-dev pkg-config)
# What the Swift toolchain needs to run and to link: a C library, a C++ library (gcc's 12 is Debian 12's), a linker and
# the libraries its package manager is linked with; with --static-swift-stdlib milm itself is linked with curl.
packages+=(binutils gcc libc6-dev g++ git ca-certificates tzdata
  libcurl4-openssl-dev libedit2 libncurses6 libsqlite3-0 libuuid1 libxml2 zlib1g)
# oneDNN multiplies bfloat16 numbers; where apt has none, OpenBLAS does all the work in fp32.
optional_packages=(libdnnl-dev)
# Python fetches the quickstart's text.
packages+=(python3 python3-pip)
if [ -n "$only_runs" ]; then
  # mpirun reaches a node through ssh; curl and the certificates are for downloads.
  packages=(openmpi-bin libopenblas0 libzstd1 libcurl4 ca-certificates openssh-client openssh-server)
  optional_packages=(libdnnl2)
fi
packages+=("$@")

fail() {
  printf 'install: %s\n' "$1" >&2
  exit 1
}

is_installed() {
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Without a terminal nobody could answer sudo's question.
can_sudo() {
  command -v sudo >/dev/null || return 1
  sudo -n true 2>/dev/null || [ -t 0 ]
}

# Where the manifest has looked for oneDNN before, its answer is kept: forget it.
forget_manifests() {
  rm -rf "${XDG_CACHE_HOME:-$HOME/.cache}/org.swift.swiftpm/manifests"
}

# missing_of PACKAGE… : those that are not installed, a line each.
missing_of() {
  local package
  for package in "$@"; do
    is_installed "$package" || printf '%s\n' "$package"
  done
}

as_root=()

find_root() {
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  as_root+=(env DEBIAN_FRONTEND=noninteractive)
  [ "$(id -u)" -eq 0 ] || can_sudo
}

apt_get() {
  local log status=0
  log=$(mktemp)
  "${as_root[@]}" apt-get "$@" >"$log" 2>&1 </dev/null || { status=$?; tail -n 20 "$log" >&2; }
  rm -f "$log"
  return $status
}

install_packages() {
  local missing optional
  mapfile -t missing < <(missing_of "${packages[@]}")
  mapfile -t optional < <([ -n "${MILM_WITHOUT_ONEDNN:-}" ] || missing_of "${optional_packages[@]}")
  if [ ${#missing[@]} -eq 0 ] && [ ${#optional[@]} -eq 0 ]; then
    printf 'install: all %d Debian packages are there\n' ${#packages[@]} >&2
    return
  fi
  if ! find_root; then
    [ ${#missing[@]} -eq 0 ] || fail "expected root or sudo, found neither; as root: apt-get install ${missing[*]}"
    printf 'install: without root or sudo, going on without %s\n' "${optional[*]}" >&2
    return
  fi

  printf 'install: %s\n' "${missing[*]} ${optional[*]}" >&2
  apt_get update -q || fail "apt-get could not fetch its lists; its last lines are above"
  [ ${#missing[@]} -eq 0 ] || apt_get install -q -y --no-install-recommends "${missing[@]}" ||
    fail "apt-get could not install them; its last lines are above"
  local package
  for package in "${optional[@]}"; do
    if apt_get install -q -y --no-install-recommends "$package"; then
      forget_manifests
    else
      printf 'install: going on without %s\n' "$package" >&2
    fi
  done
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

command -v dpkg-query >/dev/null || fail "expected Debian or a relative, found no dpkg; install ${packages[*]}"
install_packages
[ -n "$only_runs" ] || check_swift
