"""Prints how long steps took while a checkpoint was written or an evaluation ran: cluster/coordinator-cost.sh calls it."""

import json
import pathlib
import re
import statistics
import sys
import time

WORK, CHECKPOINT_EVERY, PLACEMENTS = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
# Memory is touched, primitives are made.
WARM_UP = 5


def lines(placement):
    with open(WORK / placement / "metrics.jsonl") as file:
        return [line for line in map(json.loads, file) if "split" not in line]


def state_bytes(placement):
    last = WORK / placement / "checkpoints" / "last"
    return sum((last / f"{part}.safetensors").stat().st_size for part in ("model", "optimizer"))


def copy_seconds(count):
    """The shortest of three copies of so many bytes, in memory that has been touched."""
    source, target = memoryview(bytearray(count)), memoryview(bytearray(count))
    times = []
    for _ in range(3):
        began = time.perf_counter()
        target[:] = source
        times.append(time.perf_counter() - began)
    return min(times)


def share(seconds, median):
    return f"{100 * (seconds / median - 1):+.1f} %"


def row(name, steps, median):
    if not steps:
        print(f"  {name:<30}{0:>6}")
        return
    times = sorted(step["seconds"] for step in steps)
    middle, late = statistics.median(times), times[int(0.95 * (len(times) - 1))]
    print(
        f"  {name:<30}{len(times):>6}{1000 * middle:>10.1f}{share(middle, median):>10}"
        f"{1000 * late:>10.1f}{share(late, median):>10}{1000 * times[-1]:>10.1f}"
    )


def report(placement):
    steps = lines(placement)
    tokens = steps[1]["tokens"] - steps[0]["tokens"]
    for step in steps:
        step["seconds"] = tokens / step["tokensPerSecond"]
    steps = steps[WARM_UP:]
    # In the update before a checkpoint the gradient travels exactly.
    exact = [step for step in steps if step["step"] % CHECKPOINT_EVERY == 0]
    steps = [step for step in steps if step["step"] % CHECKPOINT_EVERY != 0]
    writes = [step for step in steps if step["checkpointSeconds"] > 0]
    evaluates = [step for step in steps if step["evaluationSeconds"] > 0 and step["checkpointSeconds"] == 0]
    quiet = [step for step in steps if step["checkpointSeconds"] == 0 and step["evaluationSeconds"] == 0]
    median = statistics.median(step["seconds"] for step in quiet)
    print(f"{placement}, ms a step:")
    print(f"  {'':<30}{'steps':>6}{'median':>10}{'':>10}{'95th %':>10}{'':>10}{'longest':>10}")
    row("nothing else going on", quiet, median)
    row("while a checkpoint is written", writes, median)
    row("while an evaluation runs", evaluates, median)
    row("with the exact gradient before", exact, median)
    log = (WORK / f"{placement}.log").read_text()
    copies = [float(text) for text in re.findall(r'checkpoint written .*toCopy="([0-9.]+) ms"', log)]
    stalls = [step["stalledSeconds"] for step in writes if step["stalledSeconds"] > 0.1 * max(s["stalledSeconds"] for s in writes)]
    size = state_bytes(placement)
    copied = copy_seconds(size)
    print(
        f"  rank 0 stood still for {1000 * statistics.median(stalls):.1f} ms a checkpoint (longest {1000 * max(stalls):.1f}), of which"
        f" copying its {size / 1e6:.0f} MB took {statistics.median(copies):.1f} ms (alone in large pages: {1000 * copied:.1f});"
        f" a write took {sum(step['checkpointSeconds'] for step in writes) / len(stalls):.2f} s\n"
    )


for name in PLACEMENTS:
    report(name)
