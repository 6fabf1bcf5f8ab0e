#!/usr/bin/env bash
# Installs what building and running milm needs on Debian 12 (or a relative), and only what is missing.
#
#   cluster/install.sh [PACKAGE…]           # these as well
#
# Never asks: as root it installs, otherwise through sudo; where neither is possible it says what to install and fails.
# Swift itself is not a Debian package; where it is missing or too old one line says how to get it.
set -euo pipefail

swift_needed=6.2

# The libraries milm is linked with, and mpirun.
packages=(libopenmpi-dev openmpi-bin libopenblas-dev libzstd-dev pkg-config)
# What the Swift toolchain needs to run and to link: a C library, a C++ library (gcc's 12 is Debian 12's), a linker and
# the libraries its package manager is linked with.
packages+=(binutils gcc libc6-dev g++ git ca-certificates tzdata
  libcurl4 libedit2 libncurses6 libsqlite3-0 libuuid1 libxml2 zlib1g)
# Python fetches the quickstart's text.
packages+=(python3 python3-pip "$@")

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

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    is_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    printf 'install: all %d Debian packages are there\n' ${#packages[@]} >&2
    return
  fi

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    can_sudo || fail "expected root or sudo, found neither; as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  as_root+=(env DEBIAN_FRONTEND=noninteractive)

  printf 'install: %s\n' "${missing[*]}" >&2
  local log
  log=$(mktemp)
  if ! {
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
  } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    fail "apt-get could not install them; its last lines are above"
  fi
  rm -f "$log"
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
check_swift
