#!/usr/bin/env python3
"""Measures what checkpoints and evaluations cost the steps that run meanwhile, for both placements of the coordinator.

    Tests/Benchmarks/coordinator-cost.py --corpus wikitext-2          # H 512, V 33,278, both placements
    Tests/Benchmarks/coordinator-cost.py --corpus wikipedia --config configs/wikitext103-multencdec.yaml --set …

Two ranks of one thread, each bound to a core of its own; every step reports its metrics, which state how long rank 0
spent writing or evaluating. The table goes to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The first steps touch memory and create primitives.
WARM_UP = 5
INTERRUPTED = 75


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="what milm prepare wrote")
    parser.add_argument("--config", type=Path, help="default configs/wikitext-2.yaml with H 512 and 16 lanes")
    parser.add_argument("--placement", choices=["dedicated", "worker"], help="only this one")
    parser.add_argument("--steps", type=int, default=240, metavar="N")
    parser.add_argument("--seconds", type=int, default=0, metavar="N", help="time limit for each run (default none)")
    parser.add_argument("--every", type=int, default=20, metavar="N", help="steps between checkpoints (default 20)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of milm's configuration")
    parser.add_argument(
        "--milm",
        type=Path,
        default=Path(os.environ.get("MILM", ROOT / ".build/release/milm")),
        help="the program (default $MILM, or .build/release/milm)",
    )
    return parser.parse_args()


def train(arguments: argparse.Namespace, placement: str, work: Path) -> None:
    """One run into work/placement, its standard error into work/placement.log."""
    settings = {
        "training.threads": 1,
        "coordinator.placement": placement,
        "coordinator.reportEvery": 1,
        "coordinator.checkpointEvery": arguments.every,
        "coordinator.evaluateEvery": 6 * arguments.every,
        "coordinator.keepLast": 1,
        "exchange.ranksPerNode": 1,
        "exchange.vocabulary": "replicated",
    }
    if not arguments.config:
        settings |= {"model.hidden": 512, "training.lanes": 16}
    command = ["timeout", "--preserve-status", "--signal=USR1", str(arguments.seconds)]
    command += ["mpirun", "-n", "2", "--map-by", "core", "--bind-to", "core", "-x", "OPENBLAS_NUM_THREADS=1"]
    command += [str(arguments.milm.resolve()), "train", str(arguments.config or ROOT / "configs/wikitext-2.yaml")]
    command += ["--corpus", str(arguments.corpus), "--output", str(work / placement), "--steps", str(arguments.steps)]
    for setting in [*(f"{key}={value}" for key, value in settings.items()), *arguments.set]:
        command += ["--set", setting]
    environment = dict(os.environ)
    if os.geteuid() == 0:
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    log = work / f"{placement}.log"
    with log.open("w") as errors:
        status = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment).returncode
    if status not in (0, INTERRUPTED):
        print(*log.read_text().splitlines()[-20:], sep="\n", file=sys.stderr)
        sys.exit(f"coordinator-cost: {placement}: expected a run that ends or is interrupted, found status {status}")


def steps_of(run: Path) -> list[dict]:
    """The lines of training, each with the seconds of its step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "split" not in line]
    tokens = steps[1]["tokens"] - steps[0]["tokens"]
    return [step | {"seconds": tokens / step["tokensPerSecond"]} for step in steps]


def copy_seconds(byte_count: int) -> float:
    """The shortest of three copies of so many bytes between touched buffers."""
    source, target = memoryview(bytearray(byte_count)), memoryview(bytearray(byte_count))
    times = []
    for _ in range(3):
        started = time.perf_counter()
        target[:] = source
        times.append(time.perf_counter() - started)
    return min(times)


def row(name: str, steps: list[dict], baseline: float) -> str:
    """Median, 95th percentile and maximum in milliseconds, the first two also against the baseline."""
    if not steps:
        return f"  {name:<30}{0:>6}"
    times = sorted(step["seconds"] for step in steps)
    cells = ""
    for seconds in (statistics.median(times), times[int(0.95 * (len(times) - 1))]):
        cells += f"{1000 * seconds:>10.1f}{f'{100 * (seconds / baseline - 1):+.1f} %':>10}"
    return f"  {name:<30}{len(times):>6}{cells}{1000 * times[-1]:>10.1f}"


def report(run: Path, every: int) -> str:
    steps = steps_of(run)[WARM_UP:]
    # The gradient of the step before a checkpoint is exchanged uncompressed.
    uncompressed = [step for step in steps if step["step"] % every == 0]
    steps = [step for step in steps if step["step"] % every != 0]
    writes = [step for step in steps if step["checkpointSeconds"] > 0]
    evaluates = [step for step in steps if step["evaluationSeconds"] > 0 and step["checkpointSeconds"] == 0]
    quiet = [step for step in steps if step["checkpointSeconds"] == 0 and step["evaluationSeconds"] == 0]
    baseline = statistics.median(step["seconds"] for step in quiet)
    last = run / "checkpoints" / "last"
    size = sum((last / f"{part}.safetensors").stat().st_size for part in ("model", "optimizer"))
    log = run.with_suffix(".log").read_text()
    copies = [float(text) for text in re.findall(r'checkpoint written .*toCopy="([0-9.]+) ms"', log)]
    longest = max(step["stalledSeconds"] for step in writes)
    stalls = [step["stalledSeconds"] for step in writes if step["stalledSeconds"] > 0.1 * longest]
    write_seconds = sum(step["checkpointSeconds"] for step in writes) / len(stalls)
    return "\n".join([
        f"{run.name}, ms per step:",
        f"  {'':<30}{'steps':>6}{'median':>10}{'':>10}{'95th %':>10}{'':>10}{'maximum':>10}",
        row("no background work", quiet, baseline),
        row("while a checkpoint is written", writes, baseline),
        row("while an evaluation runs", evaluates, baseline),
        row("uncompressed, at a checkpoint", uncompressed, baseline),
        f"  rank 0 stalls for {1000 * statistics.median(stalls):.1f} ms per checkpoint (maximum {1000 * longest:.1f}), of"
        f" which copying {size / 1e6:.0f} MB takes {statistics.median(copies):.1f} ms (a plain copy takes"
        f" {1000 * copy_seconds(size):.1f}); a write takes {write_seconds:.2f} s",
        "",
    ])


def main() -> None:
    arguments = parsed()
    with tempfile.TemporaryDirectory(prefix="milm-cost.", dir=os.environ.get("TMPDIR", "/var/tmp")) as directory:
        placements = [arguments.placement] if arguments.placement else ["dedicated", "worker"]
        for placement in placements:
            train(arguments, placement, Path(directory))
        for placement in placements:
            print(report(Path(directory) / placement, arguments.every))


if __name__ == "__main__":
    main()
