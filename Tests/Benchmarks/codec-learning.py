#!/usr/bin/env python3
"""Trains with each codec from the same seeds and prints its cost in perplexity as a Markdown table.

    Tests/Benchmarks/codec-learning.py --corpus wikitext-2 --output DIRECTORY

Two ranks of one thread on this machine exchange like two nodes; a codec such as int8/sharded also selects the sharded
vocabulary. Runs that differ only in the codec make a pair: same seed, same data in the same order. A run is
DIRECTORY/CODEC-SEED; finished runs are reused and interrupted ones continue.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def parsed() -> argparse.Namespace:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="what milm prepare wrote")
    parser.add_argument("--output", type=Path, required=True, help="directory of the runs")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "wikitext-2.yaml")
    parser.add_argument(
        "--codecs", type=names, default=["none", "int8", "int4"], metavar="C,…", help="the first is the baseline"
    )
    parser.add_argument("--seeds", type=names, default=["1", "2", "3"], metavar="S,…")
    parser.add_argument("--steps", type=int, default=500, metavar="N")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of milm's configuration")
    return parser.parse_args()


def trained(arguments: argparse.Namespace, codec: str, seed: str) -> float:
    """Trains a run to its end and returns its validation perplexity."""
    run = arguments.output / f"{codec.replace('/', '-')}-{seed}"
    codec, _, vocabulary = codec.partition("/")
    settings = {
        "training.seed": seed,
        "training.steps": arguments.steps,
        "exchange.codec": codec,
        "exchange.vocabulary": vocabulary or "replicated",
        "exchange.ranksPerNode": 1,
        "coordinator.evaluateEvery": arguments.steps,
        "coordinator.checkpointEvery": arguments.steps,
    }
    command = [str(ROOT / "cluster" / "launch.sh"), "-n", "2", "--threads", "1", "--", "train", str(arguments.config)]
    command += ["--corpus", str(arguments.corpus), "--output", str(run), "--resume", "auto"]
    for setting in [*(f"{key}={value}" for key, value in settings.items()), *arguments.set]:
        command += ["--set", setting]
    print("codec-learning:", run.name, file=sys.stderr, flush=True)
    status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    # mpirun can end with status 0 without starting anything: the metrics decide.
    metrics = run / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    ends = [x["perplexity"] for x in lines if x.get("split") == "valid" and x["step"] == arguments.steps]
    if status != 0 or not ends:
        raise SystemExit(f"codec-learning: {run}: expected an evaluation of step {arguments.steps}, found status {status}")
    return ends[-1]


def table(perplexities: dict[str, list[float]], seeds: list[str]) -> Iterator[str]:
    """One row per codec; differences are means over pairs, with their standard error."""
    reference, *_ = perplexities
    yield f"| codec | {' | '.join(f'seed {seed}' for seed in seeds)} | mean | difference | in % |"
    yield f"|---|{'--:|' * (len(seeds) + 3)}"
    for codec, values in perplexities.items():
        mean = statistics.mean(values)
        cells = [f"{value:.2f}" for value in values] + [f"**{mean:.2f}**"]
        if codec == reference:
            cells += ["", ""]
        else:
            differences = [value - other for value, other in zip(values, perplexities[reference])]
            error = statistics.stdev(differences) / math.sqrt(len(seeds)) if len(seeds) > 1 else math.nan
            share = 100 * statistics.mean(differences) / statistics.mean(perplexities[reference])
            cells += [f"{statistics.mean(differences):+.2f} ± {error:.2f}", f"{share:+.2f} %"]
        yield f"| {codec} | {' | '.join(cells)} |"


def main() -> None:
    arguments = parsed()
    arguments.output.mkdir(parents=True, exist_ok=True)
    perplexities: dict[str, list[float]] = {codec: [] for codec in arguments.codecs}
    # Seed by seed, so that the first pairs are complete early.
    for seed in arguments.seeds:
        for codec in arguments.codecs:
            perplexities[codec].append(trained(arguments, codec, seed))
    print(*table(perplexities, arguments.seeds), sep="\n")


if __name__ == "__main__":
    main()
