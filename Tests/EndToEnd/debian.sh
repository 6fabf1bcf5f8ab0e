#!/usr/bin/env bash
# Builds and tests milm in a root of another Debian, with this machine's Swift toolchain.
#
#   Tests/EndToEnd/debian.sh [--quick] 12|13
#   Tests/EndToEnd/debian.sh --node PROGRAM 12|13   # runs a program, built there with --static-swift-stdlib, on a bare node
#   Tests/EndToEnd/debian.sh --check 12|13          # states in one line why this machine does not allow it
#
# Installs with cluster/install.sh, builds, runs the unit tests of Tensors, Layers and Communication, the single-node test
# on 2 ranks, the tests on several hosts and the quickstart, and then builds milm with --static-swift-stdlib and does what
# --node does: copies the program and cluster/ into an empty Debian, installs with cluster/install.sh --node alone, and runs
# the single-node test, also on 2 ranks. --quick leaves out the tests on several hosts and all that follows.
#
# Needs root, debootstrap, overlayfs and 5 GB of disk. The root, and the build, are kept in $MILM_DEBIAN_CACHE (default
# ~/.cache/milm/debian) and used again; a change to cluster/install.sh makes a new root. Remove it to start over.
# MILM_DEBIAN_MIRROR is the mirror (default: this machine's, else http://deb.debian.org/debian).
set -euo pipefail

repository=$(realpath "$(dirname "$(realpath "$0")")/../..")
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. "$repository/cluster/common.sh"

option="" program=""
case ${1-} in
  --node)
    option=$1 program=$(realpath -m "${2-}")
    [ -x "$program" ] || usage_error "expected a program after --node, found '${2-}'"
    shift 2
    ;;
  --quick | --check)
    option=$1
    shift
    ;;
  *) only_help "$@" ;;
esac
case ${1-} in
  12) suite=bookworm ;;
  13) suite=trixie ;;
  *) usage_error "expected Debian 12 or 13, found '${1-}'" ;;
esac
[ $# -eq 1 ] || usage_error "expected one version, found $*"
version=$1
arguments=(${option:+"$option"} ${program:+"$program"} "$version")

[ "$(id -u)" -eq 0 ] || fail "expected root, which mounts need, found user $(id -un)"
for tool in debootstrap unshare pivot_root flock python3 swift; do
  command -v "$tool" >/dev/null || fail "expected $tool, found none"
done
# All mounts are in a namespace of their own, and go with it.
if [ -z "${MILM_DEBIAN_NAMESPACE:-}" ]; then
  found=$(unshare --mount --propagation private true 2>&1) || fail "expected a kernel that allows mounts, found: $found"
  MILM_DEBIAN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "${arguments[@]}"
fi

cache=${MILM_DEBIAN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/milm/debian}/$version
# The toolchain's directory is the same outside and inside; the repository's is not, so that builds can be used again.
toolchain=$(swift -print-target-info | sed -n 's|.*"runtimeResourcePath": *"\(.*\)/lib/swift".*|\1|p')
place=/root/milm
base=$cache/base
lower=$cache/root-$(sha256sum "$repository/cluster/install.sh" | cut -c 1-12)
build=$cache/build
root=$cache/mounted
mkdir -p "$root" "$cache/changes" "$build" "$repository/.build"
exec {lock}>"$cache/lock"
flock --nonblock "$lock" || fail "expected the only run in $cache, found another"

mirror() {
  local found
  # shellcheck disable=SC2016  # apt-get expands it.
  found=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null | head -n 1) || true
  echo "${MILM_DEBIAN_MIRROR:-${found:-http://deb.debian.org/debian}}"
}

# check : fails with one line if this machine does not allow a root.
check() {
  local found
  mount -t tmpfs tmpfs "$cache/changes"
  mkdir "$cache/changes/lower" "$cache/changes/upper" "$cache/changes/work"
  found=$(mount -t overlay overlay \
    -o "lowerdir=$cache/changes/lower,upperdir=$cache/changes/upper,workdir=$cache/changes/work" "$root" 2>&1) ||
    fail "expected a kernel with overlayfs, found: $found"
  [ -d "$base" ] || found=$(python3 -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=20)' \
    "$(mirror)/dists/$suite/Release" 2>&1) || fail "expected a mirror at $(mirror), found: ${found##*$'\n'}"
}

# populate ROOT : mounts what a running system has.
populate() {
  mount --rbind /dev "$1/dev"
  mount -t tmpfs tmpfs "$1/dev/shm"
  mount --rbind /sys "$1/sys"
  mount -t tmpfs tmpfs "$1/run"
  # This machine's way to the network.
  local file
  for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    [ ! -e "$file" ] || [ ! -d "$1${file%/*}" ] || cp --dereference --remove-destination "$file" "$1$file"
  done
}

# populate_for_building ROOT : mounts the toolchain and the repository as well.
populate_for_building() {
  populate "$1"
  mkdir -p "$1$toolchain" "$1$place"
  mount --bind "$toolchain" "$1$toolchain"
  mount --bind -o ro "$repository" "$1$place"
  mount --bind "$build" "$1$place/.build"
}

# inside COMMAND… : runs a command in the root, in the repository. Not by chroot: lab.sh changes the propagation of
# mounts, for which the root must be one.
inside() {
  # shellcheck disable=SC2016  # The inner shell expands its own arguments.
  unshare --mount --pid --fork --kill-child --propagation private sh -ec '
    cd "$1"
    mount -t proc proc proc
    pivot_root . mnt
    umount --lazy /mnt
    cd "$2"
    shift 2
    exec "$@"' inside "$root" "$place" \
    env -u MILM_ONEDNN -u TMPDIR -u XDG_CACHE_HOME HOME=/root LC_ALL=C.UTF-8 \
    PATH="$toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$@"
}

# An empty Debian.
make_base() {
  [ ! -d "$base" ] || return 0
  rm -rf "$cache/new"
  quietly "$cache/debootstrap.log" debootstrap --variant=minbase "$suite" "$cache/new" "$(mirror)"
  mv "$cache/new" "$base"
}

# A root as cluster/install.sh leaves it.
make_root() {
  [ ! -d "$lower" ] || return 0
  make_base
  rm -rf "$cache"/root-* "$cache/new"
  cp -a "$base" "$cache/new"
  mount --bind "$cache/new" "$root"
  populate_for_building "$root"
  # The last are for cluster/lab.sh.
  inside cluster/install.sh iproute2 procps
  inside apt-get clean
  umount --recursive "$root"
  mv "$cache/new" "$lower"
}

# Shares the objects of the build above.
build_for_nodes() {
  quietly "$cache/static.log" inside swift build -c release --product milm --static-swift-stdlib
  cp "$build/release/milm" "$cache/milm"
}

# mount_over LOWER : the root again and again as it was: what a run writes to it is in memory.
mount_over() {
  mount -t tmpfs tmpfs "$cache/changes"
  mkdir "$cache/changes/upper" "$cache/changes/work"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$cache/changes/upper,workdir=$cache/changes/work" "$root"
}

mount_root() {
  mount_over "$lower"
  populate_for_building "$root"
  inside cluster/install.sh
}

# What TrainOnACluster.md says to copy to a node.
mount_node() {
  mount_over "$base"
  populate "$root"
  mkdir -p "$root$place/.build/release"
  cp "$program" "$root$place/.build/release/milm"
  cp -r "$repository/cluster" "$root$place"
  quietly "$cache/node.log" inside cluster/install.sh --node
}

# Swift packages are fetched outside, with this machine's settings of git.
fetch_packages() {
  quietly "$cache/packages.log" swift package --package-path "$repository" --scratch-path "$build" resolve
}

build_tests() {
  quietly "$cache/build.log" inside swift build -c release --product milmPackageTests
}

# unit_tests REGULAR-EXPRESSION : prints Swift Testing's closing line.
unit_tests() {
  quietly "$cache/test.log" inside swift test -c release --skip-build --filter "$1"
  grep 'Test run with' "$cache/test.log" | tail -n 1 >&2 || fail "expected Swift Testing's closing line, found none"
}

if [ "$option" = --check ]; then
  check
  exit
fi
# A node that has nothing but what install.sh --node installs.
run_on_node() {
  stage "empty Debian $version" make_base
  stage "install --node" mount_node
  stage "single-node test on the node" inside .build/release/milm train --single-node-test
  stage "single-node test on the node, 2 ranks" inside cluster/launch.sh -n 2 -- train --single-node-test
}

trap stage_report EXIT
if [ "$option" = --node ]; then
  run_on_node
  exit
fi
stage "root of Debian $version" make_root
stage "install" mount_root
stage "fetch Swift packages" fetch_packages
stage "build with tests (release)" build_tests
stage "unit tests" unit_tests '(Tensors|Layers|Communication)Tests'
stage "single-node test, 2 ranks" inside cluster/launch.sh -n 2 -- train --single-node-test
if [ "$option" != --quick ]; then
  no_lab=$(inside cluster/lab.sh check 2>&1) || skipped "unit tests on several hosts" "$no_lab"
  [ -n "$no_lab" ] || stage "unit tests on several hosts" unit_tests 'LabTests'
  stage "quickstart" inside cluster/quickstart.sh /root/quickstart
  stage "build with --static-swift-stdlib" build_for_nodes
  umount --recursive "$root"
  umount "$cache/changes"
  program=$cache/milm
  run_on_node
fi
