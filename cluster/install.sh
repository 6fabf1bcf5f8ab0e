#!/usr/bin/env bash
# Installs what building and running milm needs on Debian 12 (or a derivative), and only what is missing.
#
#   cluster/install.sh [PACKAGE…]           # additional Debian packages
#   cluster/install.sh --node [PACKAGE…]    # for a node that only runs milm, built on the same Debian with
#                                           # swift build -c release --static-swift-stdlib: no compiler, no Swift
#
# Never prompts: as root it installs, otherwise through sudo; if neither is possible it lists what to install and fails.
# Swift is not a Debian package: if it is missing or too old, one line says how to get it.
set -euo pipefail

swift_needed=6.2

fail() {
  printf 'install: %s\n' "$1" >&2
  exit "${2:-1}"
}

# This script stands alone: a container's build copies it before anything else.
only_runs=""
case ${1-} in
  -h | --help)
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
    exit 0
    ;;
  --node)
    only_runs=1
    shift
    ;;
  -*) fail "expected --node or packages, found $1" 64 ;;
esac

# The libraries milm is linked with, and mpirun.
packages=(libopenmpi-dev openmpi-bin libopenblas-dev libzstd-dev pkg-config)
# What the Swift toolchain needs to run and to link: the C and C++ libraries, a linker, and the libraries of its package
# manager; with --static-swift-stdlib milm itself is linked with curl.
packages+=(binutils gcc libc6-dev g++ git ca-certificates tzdata
  libcurl4-openssl-dev libedit2 libncurses6 libsqlite3-0 libuuid1 libxml2 zlib1g)
# oneDNN computes bfloat16 products; without it OpenBLAS computes all in fp32.
optional_packages=(libdnnl-dev)
# Python fetches the quickstart's text.
packages+=(python3 python3-pip)
if [ -n "$only_runs" ]; then
  # mpirun reaches a node by ssh; curl and the certificates are for downloads.
  packages=(openmpi-bin libopenblas0 libzstd1 libcurl4 ca-certificates openssh-client openssh-server)
  optional_packages=(libdnnl2)
fi
packages+=("$@")

is_installed() {
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Without a terminal nobody can enter sudo's password.
can_sudo() {
  command -v sudo >/dev/null || return 1
  sudo -n true 2>/dev/null || [ -t 0 ]
}

# SwiftPM caches evaluated manifests, and with them the absence of oneDNN.
clear_manifest_cache() {
  rm -rf "${XDG_CACHE_HOME:-$HOME/.cache}/org.swift.swiftpm/manifests"
}

# missing_of PACKAGE… : those that are not installed, one per line.
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
    printf 'install: all %d Debian packages are installed\n' ${#packages[@]} >&2
    return
  fi
  if ! find_root; then
    [ ${#missing[@]} -eq 0 ] || fail "expected root or sudo, found neither; as root: apt-get install ${missing[*]}"
    printf 'install: neither root nor sudo: continuing without %s\n' "${optional[*]}" >&2
    return
  fi

  printf 'install: %s\n' "${missing[*]} ${optional[*]}" >&2
  apt_get update -q || fail "apt-get update failed; its last lines are above"
  [ ${#missing[@]} -eq 0 ] || apt_get install -q -y --no-install-recommends "${missing[@]}" ||
    fail "apt-get install failed; its last lines are above"
  local package
  for package in "${optional[@]}"; do
    if apt_get install -q -y --no-install-recommends "$package"; then
      clear_manifest_cache
    else
      printf 'install: continuing without %s\n' "$package" >&2
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

command -v dpkg-query >/dev/null || fail "expected Debian or a derivative, found no dpkg; install ${packages[*]}"
install_packages
[ -n "$only_runs" ] || check_swift
