#!/usr/bin/env bash
# Compares the time to build a corpus with milm and with plain Python, and checks that both write the same bytes; prints a
# Markdown table.
#
#   Tests/Benchmarks/compare-prepare.sh TEXT [--vocabulary-size N] [--rounds N]
#
# TEXT must be uncompressed. MILM names the program (default .build/release/milm).
set -euo pipefail

cd "$(dirname "$(realpath "$0")")/../.."
# shellcheck source-path=SCRIPTDIR/../.. source=cluster/common.sh
. cluster/common.sh

only_help "$@"
[ $# -gt 0 ] || usage_error "expected a text, found none"
text=$1
shift
vocabulary_size="" rounds=3
read_options "--vocabulary-size=vocabulary_size --rounds=rounds" "$@"
is_count "$rounds" || usage_error "expected a number after --rounds, found '$rounds'"
size=()
[ -z "$vocabulary_size" ] || size=(--vocabulary-size "$vocabulary_size")
milm=${MILM:-$PWD/.build/release/milm}
[ -x "$milm" ] || fail "expected the program at $milm, found none; build it with: swift build -c release"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for ((round = 1; round <= rounds; round++)); do
  "$milm" benchmark prepare --train "$text" "${size[@]}" --rounds 1 --folder "$work" --json >>"$work/milm.jsonl"
  # Python takes long enough that one measurement suffices.
  [ "$round" -gt 1 ] || python3 Tests/Benchmarks/peers/prepare.py "$text" "$work/python" "${size[@]}" >"$work/python.json"
done

"$milm" prepare --train "$text" "${size[@]}" --output "$work/corpus" >/dev/null 2>&1
cmp "$work/corpus/vocabulary.txt" "$work/python/vocabulary.txt"
cmp <(tail -c +65 "$work/corpus/train.tokens") "$work/python/train.ids"

python3 - "$work" <<'END'
import json, sys
python = json.load(open(f"{sys.argv[1]}/python.json"))
print("| | MB/s of text | speed-up over Python | peak memory, MB |")
print("|---|---|---|---|")
print(f"| plain Python | {python['megabytesPerSecond']:.1f} | 1 | {python['peakMegabytes']} |")
for line in open(f"{sys.argv[1]}/milm.jsonl"):
    milm = json.loads(line)
    rate = milm["megabytesPerSecond"]
    print(f"| milm, {milm['threads']} threads | {rate:.0f} | {rate / python['megabytesPerSecond']:.1f} | {milm['peakMegabytes']:.0f} |")
END
