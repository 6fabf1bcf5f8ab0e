#!/usr/bin/env bash
# Builds Sources/milm/milm.docc with swift-docc-plugin, warnings as errors.
#
#   Tests/EndToEnd/build-documentation.sh [DIRECTORY]     # keeps the DocC archive in DIRECTORY
#
# MILM_DOCS=1 makes the plugin a dependency of the package, for this command only. CONFIGURATION (default release) is the
# build whose objects are reused. Images must be in the catalog and are referred to by their name alone.
set -euo pipefail

cd "$(dirname "$(realpath "$0")")/../.."
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. cluster/common.sh

only_help "$@"
[ $# -le 1 ] || usage_error "expected at most one directory, found $*"
if [ $# -gt 0 ]; then
  mkdir -p "$1"
  directory=$(realpath "$1")
else
  directory=$(mktemp -d)
  trap 'rm -rf "$directory"' EXIT
fi
# The plugin moves its archive to a path that must not exist.
rm -rf "$directory/milm.doccarchive"
MILM_DOCS=1 swift package --configuration "${CONFIGURATION:-release}" --allow-writing-to-directory "$directory" \
  generate-documentation --target milm --output-path "$directory/milm.doccarchive" --warnings-as-errors
