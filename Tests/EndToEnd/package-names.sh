#!/usr/bin/env bash
# Checks that cluster/install.sh finds every package it needs in the lists of several Debian releases.
#
#   Tests/EndToEnd/package-names.sh [SUITE…]      # default: bookworm trixie testing
#   Tests/EndToEnd/package-names.sh --check       # says why this machine cannot, or nothing
#
# Downloads the package lists of each suite (10 MB) to a temporary directory and simulates the installation on a system
# without any package: for building, for a node, and for a node whose program is linked with libraries that its release has
# under other names. Installs nothing and needs no root. MIRROR names the mirror (default: that of this machine, else
# http://deb.debian.org/debian).
set -euo pipefail

repository=$(realpath "$(dirname "$(realpath "$0")")/../..")
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. "$repository/cluster/common.sh"

check=""
if [ "${1-}" = --check ]; then
  check=1
  shift
fi
only_help "$@"
[ $# -gt 0 ] || set -- bookworm trixie testing
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keys" ] || fail "expected Debian's keys at $keys, found none; the package debian-archive-keyring has them"
sources=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true)
mirror=${MIRROR:-$(grep -oE 'https?://[^ ]+/debian/?( |$)' <<<"$sources" | head -n 1 | tr -d ' ' || true)}
mirror=${mirror:-http://deb.debian.org/debian}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Without a program: one that has been built here would decide which libraries are missing.
cp -r "$repository/cluster" "$work/cluster"
if [ -n "$check" ]; then
  /usr/lib/apt/apt-helper -o Acquire::http::Timeout=10 -o Acquire::Retries=0 \
    download-file "$mirror/dists/stable/InRelease" "$work/InRelease" >/dev/null 2>&1 || fail "$mirror cannot be reached"
  exit 0
fi

# begin_suite SUITE : an apt of its own with the suite's lists, and a dpkg that has installed nothing.
begin_suite() {
  local directory=$work/$1
  mkdir -p "$directory"/{state/lists/partial,cache/archives/partial,dpkg,bin,none}
  : >"$directory/dpkg/status"
  printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$mirror" "$1" >"$directory/sources.list"
  cat >"$directory/apt.conf" <<CONF
Dir::State "$directory/state";
Dir::State::status "$directory/dpkg/status";
Dir::Cache "$directory/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::SourceList "$directory/sources.list";
Dir::Etc::SourceParts "$directory/none";
Dir::Etc::Preferences "$directory/none/preferences";
Dir::Etc::PreferencesParts "$directory/none";
CONF
  export APT_CONFIG=$directory/apt.conf DPKG_ADMINDIR=$directory/dpkg
  quietly "$directory/update.log" apt-get update -q || fail "the lists of $1 cannot be fetched from $mirror"
}

# packages SUITE ARGUMENT… : the packages that install.sh would install, on one line.
packages() {
  local suite=$1 log=$work/$1/install.log
  shift
  PATH=$work/$suite/bin:$PATH "$work/cluster/install.sh" --dry-run "$@" 2>"$log" | tr '\n' ' ' ||
    { cat "$log" >&2 && fail "install.sh --dry-run $* failed on $suite"; }
}

# expect SUITE FOUND PATTERN… : every pattern must match a whole package name in the list FOUND.
expect() {
  local suite=$1 found=$2 pattern
  shift 2
  for pattern in "$@"; do
    grep -qE "(^| )($pattern)( |$)" <<<"$found" || fail "expected $pattern on $suite, found $found"
  done
  printf '%s: %s\n' "$suite" "$found"
}

# link SUITE LIBRARY… : ldd then says that the program needs these libraries and does not find them.
link() {
  local ldd=$work/$1/bin/ldd
  shift
  { printf '#!/bin/sh\n' && printf "printf '\\\\t%%s => not found\\\\n' %s\n" "$@"; } >"$ldd"
  chmod +x "$ldd"
}

for suite in "$@"; do
  begin_suite "$suite"
  # shellcheck disable=SC2310
  found=$(packages "$suite")
  expect "$suite" "$found" libopenmpi-dev openmpi-bin 'libxml2(-16)?' libcurl4-openssl-dev libdnnl-dev python3-pip
  found=$(MILM_MPI=mpich packages "$suite")
  expect "$suite" "$found" libmpich-dev mpich libopenblas-dev
  found=$(packages "$suite" --node)
  expect "$suite" "$found" openmpi-bin libopenblas0 'libcurl4(t64)?' libzstd1 'libdnnl[0-9.]+' openssh-server
  dnnl=$(apt-cache pkgnames libdnnl | grep -oE '^libdnnl[23]' | head -n 1)
  link "$suite" "libdnnl.so.${dnnl#libdnnl}" libcurl.so.4 libopenblas.so.0 libgcc_s.so.1 libz.so.1 libmpi.so.40 \
    'libstdc++.so.6' libgomp.so.1 libevent_core-2.1.so.7
  found=$(packages "$suite" --node --program /bin/true)
  expect "$suite" "$found" "${dnnl}[0-9.]*" 'libcurl4(t64)?' libgcc-s1 zlib1g 'libopenmpi[0-9]+(t64)?' 'libstdc\+\+6' libgomp1 \
    'libevent-core-2\.1-7(t64)?'
  link "$suite" libmpich.so.12 libopenblas.so.0
  found=$(packages "$suite" --node --program /bin/true)
  expect "$suite" "$found" 'libmpich12(t64)?' mpich
  link "$suite" libnobody.so.7
  if PATH=$work/$suite/bin:$PATH "$work/cluster/install.sh" --dry-run --node --program /bin/true \
    >"$work/$suite/install.log" 2>&1; then
    fail "expected an unknown library to be refused on $suite, found it accepted"
  fi
  grep -q 'expected a package for libnobody.so.7, found none' "$work/$suite/install.log" ||
    fail "expected a line about libnobody.so.7 on $suite, found $(cat "$work/$suite/install.log")"
done
printf 'package-names: every package has a name on %s\n' "$*"
