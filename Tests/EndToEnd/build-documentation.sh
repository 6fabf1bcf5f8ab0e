#!/usr/bin/env bash
# Builds Sources/milm/milm.docc with swift-docc-plugin, warnings as errors.
#
#   Tests/EndToEnd/build-documentation.sh [FOLDER]     # keeps the DocC archive in FOLDER
#
# MILM_DOCS=1 makes the plugin a dependency of the package, for this command only. CONFIGURATION (default release) is the
# build whose objects are reused. Images must be in the catalog and are referred to by their name alone.
set -euo pipefail

cd "$(dirname "$(realpath "$0")")/../.."
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. cluster/common.sh

only_help "$@"
[ $# -le 1 ] || usage_error "expected at most one folder, found $*"
if [ $# -gt 0 ]; then
  mkdir -p "$1"
  folder=$(realpath "$1")
else
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
# The plugin moves its archive to a path that must not exist.
rm -rf "$folder/milm.doccarchive"
MILM_DOCS=1 swift package --configuration "${CONFIGURATION:-release}" --allow-writing-to-directory "$folder" \
  generate-documentation --target milm --output-path "$folder/milm.doccarchive" --warnings-as-errors
