#!/usr/bin/env bash
# Time and peak memory of `milm report` for a run of many lines of metrics.
#
#   Tests/Benchmarks/report-lines.sh [LINES]        # default: 400000; expected: at most 5 s of a processor and 100 MB
#
# MILM names the program (default: .build/release/milm). Fails where the report takes more.
set -euo pipefail

repository=$(dirname "$(dirname "$(dirname "$(realpath "$0")")")")
# shellcheck source-path=SCRIPTDIR source=../../cluster/common.sh
. "$repository/cluster/common.sh"
only_help "$@"
lines=${1:-400000}
is_count "$lines" || usage_error "expected the number of lines, found '$lines'"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/run"

python3 - "$work/run" "$lines" "${MILM:-$repository/.build/release/milm}" <<'PYTHON'
import json, math, os, resource, subprocess, sys, time

run, lines, milm = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with open(f"{run}/metrics.jsonl", "w") as file:
    for step in range(1, lines + 1):
        loss = 4 + math.sin(step) + 2 * math.exp(-step / 1e4)
        line = {
            "step": step, "tokens": step * 4096, "epoch": step / 1e4, "loss": loss, "perplexity": math.exp(loss),
            "learningRate": 1e-3, "gradientNorm": 0.125, "tokensPerSecond": 12345, "computeSeconds": 0.5,
            "exchangeSeconds": 0.25, "exposedSeconds": 0.0625, "encodeSeconds": 0.5, "wireSeconds": 0.25,
            "decodeSeconds": 0.125, "checkpointSeconds": 0.75, "rawBytes": 4000, "wireBytes": 1000, "codec": "int8",
            "skippedSteps": 0,
        }
        file.write(json.dumps(line, separators=(",", ":")) + "\n")
        if step % 1000 == 0:
            evaluation = {"step": step, "split": "valid", "perplexity": 50 + 1e6 / step, "nll": 4, "tokens": 99, "seconds": 1}
            file.write(json.dumps(evaluation, separators=(",", ":")) + "\n")
begun = time.monotonic()
subprocess.run([milm, "report", run], check=True, stdout=subprocess.DEVNULL)
seconds = time.monotonic() - begun
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
# Unlike the time that passes, it does not depend on what else runs.
busy = usage.ru_utime + usage.ru_stime
megabytes = usage.ru_maxrss / 1000
page = os.path.getsize(f"{run}/report.html") / 1000
print(f"{lines} lines: {seconds:.2f} s ({busy:.2f} s of a processor), {megabytes:.0f} MB at most, a page of {page:.0f} kB")
sys.exit(0 if busy <= 5 and megabytes <= 100 else "report-lines: expected at most 5 s of a processor and 100 MB")
PYTHON
