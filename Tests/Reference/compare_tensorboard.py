#!/usr/bin/env python3
"""Reads a run's event files as TensorBoard does, and compares all tags, steps and values with metrics.jsonl.

    python3 Tests/Reference/compare_tensorboard.py RUN
"""

from __future__ import annotations

import json
import math
import sys

if {"-h", "--help"} & set(sys.argv[1:]):
    sys.exit(print(__doc__))

import numpy
from tensorboard.backend.event_processing import event_accumulator

TRAINING = {
    "training/loss": "loss",
    "training/perplexity": "perplexity",
    "training/learningRate": "learningRate",
    "training/gradientNorm": "gradientNorm",
    "training/skippedSteps": "skippedSteps",
    "speed/tokensPerSecond": "tokensPerSecond",
    "speed/computeSeconds": "computeSeconds",
    "exchange/exchangeSeconds": "exchangeSeconds",
    "exchange/exposedSeconds": "exposedSeconds",
    "exchange/rawBytes": "rawBytes",
    "exchange/wireBytes": "wireBytes",
}


def expected(path: str) -> dict[str, dict[int, float]]:
    """The values of metrics.jsonl by tag and step, as 32-bit floats; what is no number is null there."""
    values: dict[str, dict[int, float]] = {}
    for line in map(json.loads, open(path)):
        split = line.get("split")
        tags = {f"{split}/perplexity": "perplexity"} if split else TRAINING
        for tag, key in tags.items():
            value = math.nan if line[key] is None else line[key]
            values.setdefault(tag, {})[line["step"]] = float(numpy.float32(value))
    return values


def main(run: str) -> None:
    unlimited = {event_accumulator.SCALARS: 0, event_accumulator.TENSORS: 0}
    accumulator = event_accumulator.EventAccumulator(f"{run}/tensorboard", size_guidance=unlimited)
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    wanted = expected(f"{run}/metrics.jsonl")
    if set(tags) != set(wanted):
        sys.exit(f"{run}: expected the tags {sorted(wanted)}, found {sorted(tags)}")
    for tag in tags:
        events = accumulator.Scalars(tag)
        steps = [event.step for event in events]
        if steps != sorted(wanted[tag]):
            sys.exit(f"{run}, {tag}: expected the steps {sorted(wanted[tag])}, found {steps}")
        for event in events:
            value = wanted[tag][event.step]
            # metrics.jsonl has nine digits, which two 32-bit floats beside each other may share.
            if not (math.isclose(event.value, value, rel_tol=2e-7) or math.isnan(event.value) and math.isnan(value)):
                sys.exit(f"{run}, {tag} at step {event.step}: expected {value}, found {event.value}")
    count = sum(len(steps) for steps in wanted.values())
    print(f"TensorBoard shows the {count} values of {len(tags)} tags as metrics.jsonl has them", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected a run")
    main(sys.argv[1])
