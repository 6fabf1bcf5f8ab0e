#!/usr/bin/env bash
# Builds the image of cluster/jobs/container/Containerfile and tests it, with podman, docker or buildah.
#
#   Tests/EndToEnd/try-container.sh [BUILD-OPTION…]
#
# Checks the user, the program and its libraries, the absence of a compiler, a training on 2 ranks in one container and
# one in 2 containers, through sshd as in cluster/jobs/kubernetes/mpijob.yaml. The image is kept, the rest is removed.
# Environment: ENGINE=podman|docker|buildah, IMAGE (default milm), RUN_OPTIONS, e.g. '--shm-size 1g'.
set -euo pipefail

repository=$(realpath "$(dirname "$(realpath "$0")")/../..")
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. "$repository/cluster/common.sh"

case ${1-} in -h | --help) only_help "$@" ;; esac
image=${IMAGE:-milm}
# Prefix of container, network and volume names.
job=milm-try-$$

engine=""
for name in ${ENGINE:-podman docker buildah}; do
  [ -n "$engine" ] || ! command -v "$name" >/dev/null || engine=$name
done
[ -n "$engine" ] || fail "expected ${ENGINE:-podman, docker or buildah}, found none"
read -ra run_options <<<"${RUN_OPTIONS:-}"

trap 'stage_report; clean_up' EXIT

clean_up() {
  [ "$engine" != buildah ] || return 0
  {
    "$engine" rm --force --volumes "$job-1" "$job-2"
    "$engine" network rm "$job"
    "$engine" volume rm "$job-key" "$job-data"
  } >/dev/null 2>&1 || true
}

build() {
  "$engine" build "$@" --tag "$image" --file "$repository/cluster/jobs/container/Containerfile" "$repository"
  printf 'image size: %s\n' "$("$engine" images --format '{{.Size}}' "$image")" >&2
}

# inside COMMAND… : runs a command in a new container.
inside() {
  if [ "$engine" != buildah ]; then
    "$engine" run --rm "${run_options[@]}" "$image" "$@"
    return
  fi
  local container status=0
  container=$(buildah from "$image")
  buildah run "${run_options[@]}" "$container" -- "$@" || status=$?
  buildah rm "$container" >/dev/null
  return "$status"
}

user() {
  local found
  found=$(inside id)
  [[ $found == "uid=1000(milm) "* ]] || fail "expected the user milm, found $found"
}

libraries() {
  inside milm --version
  local found
  found=$(inside ldd /opt/milm/.build/release/milm)
  [[ $found != *"not found"* ]] || fail "expected every library, found $found"
}

no_compiler() {
  local found
  # shellcheck disable=SC2016  # The inner shell expands its own variables.
  found=$(inside sh -c 'for tool in swift cc gcc g++ ld make git; do command -v $tool || true; done')
  [ -z "$found" ] || fail "expected no build tools, found $found"
}

# Workers run sshd, the launcher has their addresses, and the key is owned by root but readable, as Kubernetes mounts it.
two_containers() {
  local host address
  run_options+=(--volume "$job-key:/home/milm/.ssh" --volume "$job-data:/data")
  "$engine" run --rm --user 0 "${run_options[@]}" "$image" sh -c 'cd /home/milm/.ssh &&
    ssh-keygen -q -t rsa -N "" -f id_rsa && cp id_rsa.pub authorized_keys && chmod 755 . && chmod 644 id_rsa'
  "$engine" network create "$job" >/dev/null
  run_options+=(--network "$job")
  for host in "$job-1" "$job-2"; do
    "$engine" run --detach --name "$host" --hostname "$host" "${run_options[@]}" "$image" \
      /usr/sbin/sshd -De -f /home/milm/sshd_config >/dev/null
    address=$("$engine" inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$host")
    run_options+=(--add-host "$host:$address")
  done
  inside milm prepare --generate 30000 --output /data/corpus
  inside cluster/launch.sh -n 2 --host "$job-1,$job-2" --threads 1 --interface eth0 -- \
    train configs/quickstart.yaml --corpus /data/corpus --output /data/run --steps 60
}

stage "build" build "$@"
stage "the user is milm" user
stage "milm and its libraries" libraries
stage "no compiler" no_compiler
stage "milm doctor" inside milm doctor
stage "2 ranks in one container" inside cluster/launch.sh -n 2 -- train --single-node-test
if [ "$engine" = buildah ]; then
  skipped "2 ranks in 2 containers" "buildah provides no network between containers"
else
  stage "2 ranks in 2 containers" two_containers
fi
