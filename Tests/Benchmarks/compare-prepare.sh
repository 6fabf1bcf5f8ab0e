#!/usr/bin/env bash
# Builds a corpus of a text with milm and with plain Python in turns, checks that both wrote the same, and prints a table.
#
#   Tests/Benchmarks/compare-prepare.sh TEXT [--vocabulary-size N] [--rounds N]
#
# TEXT is plain, for Python decompresses nothing.
set -euo pipefail

cd "$(dirname "$(realpath "$0")")/../.."
milm=$PWD/.build/release/milm
rounds=3
size=()

[ $# -gt 0 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 64; }
text=$1
shift
while [ $# -gt 0 ]; do
  case $1 in
  --vocabulary-size) size=(--vocabulary-size "$2") && shift 2 ;;
  --rounds) rounds=$2 && shift 2 ;;
  *) printf 'compare-prepare: expected --vocabulary-size or --rounds, found %s\n' "$1" >&2 && exit 64 ;;
  esac
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for ((round = 1; round <= rounds; round++)); do
  "$milm" benchmark prepare --train "$text" "${size[@]}" --rounds 1 --folder "$work" --json >>"$work/milm.jsonl"
  # Python takes long enough to be measured once.
  [ "$round" -gt 1 ] || python3 Tests/Benchmarks/peers/prepare.py "$text" "$work/python" "${size[@]}" >"$work/python.json"
done

"$milm" prepare --train "$text" "${size[@]}" --output "$work/corpus" >/dev/null 2>&1
cmp "$work/corpus/vocabulary.txt" "$work/python/vocabulary.txt"
cmp <(tail -c +65 "$work/corpus/train.tokens") "$work/python/train.ids"

python3 - "$work" <<'END'
import json, sys
python = json.load(open(f"{sys.argv[1]}/python.json"))
print("| | MB of text a second | times Python | peak memory, MB |")
print("|---|---|---|---|")
print(f"| plain Python | {python['megabytesPerSecond']:.1f} | 1 | {python['peakMegabytes']} |")
for line in open(f"{sys.argv[1]}/milm.jsonl"):
    milm = json.loads(line)
    rate = milm["megabytesPerSecond"]
    print(f"| milm, {milm['threads']} threads | {rate:.0f} | {rate / python['megabytesPerSecond']:.1f} | {milm['peakMegabytes']:.0f} |")
END
