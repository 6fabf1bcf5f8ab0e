#!/usr/bin/env python3
"""Draws validation perplexity over steps as SVG: a line with dots for each run; of a single run its training loss too.

    Tests/Benchmarks/curve.py [--title TEXT] [LABEL=]RUN/metrics.jsonl... > curve.svg
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 380, 64, 190, 34, 44
COARSE_TICKS = [factor * 10**power for power in range(6) for factor in (1, 2, 5)]
COLOURS = ["#475569", "#2563eb", "#c2410c", "#15803d", "#7e22ce", "#a16207"]


class Run:
    """One run's label and its points (step, perplexity)."""

    def __init__(self, argument: str):
        label, separator, path = argument.partition("=")
        if not separator or os.path.exists(argument):
            label, path = "", argument
        lines = [json.loads(line) for line in open(path)]
        self.label = label or os.path.basename(os.path.dirname(os.path.abspath(path)))
        self.training = [(x["step"], x["perplexity"]) for x in lines if "split" not in x and x["perplexity"]]
        self.validation = [(x["step"], x["perplexity"]) for x in lines if x.get("split") == "valid"]


def svg(runs: list[Run], title: str) -> str:
    show_training = len(runs) == 1
    values = [y for run in runs for _, y in run.validation + (run.training if show_training else [])]
    if not values:
        sys.exit("curve: expected evaluations of the validation split, found none")
    # Curves that span less than a factor of three need finer ticks than 1, 2, 5.
    ticks = COARSE_TICKS
    if max(values) < 3 * min(values):
        spacing = min(t for t in COARSE_TICKS if t >= (max(values) - min(values)) / 6)
        ticks = [spacing * number for number in range(1, int(max(values) / spacing) + 2)]
    low = max(t for t in ticks if t <= min(values))
    high = min(t for t in ticks if t >= max(values))
    last = max(x for run in runs for x, _ in run.training)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14" fill="#222">{title}</text>',
    ]

    def place(step: float, perplexity: float) -> tuple[float, float]:
        fraction = (math.log(perplexity) - math.log(low)) / (math.log(high) - math.log(low))
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        return round(x, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * fraction, 1)

    def line(points: list[tuple[float, float]], colour: str, width: float) -> str:
        path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in points))
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'

    for tick in (t for t in ticks if low <= t <= high):
        y = place(0, tick)[1]
        out.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#e2e2e2"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end" fill="#444">{tick:g}</text>')
    for quarter in range(5):
        step = last * quarter // 4
        x = place(step, low)[0]
        out.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#444">{step}</text>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    out.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle" fill="#444">steps</text>')
    if show_training:
        out.append(line(runs[0].training, "#7aa6d6", 1.5))
    label_place = -math.inf
    evaluated = [(run, colour) for run, colour in zip(runs, COLOURS) if run.validation]
    by_end = sorted(evaluated, key=lambda pair: -pair[0].validation[-1][1])
    for run, colour in by_end:
        out.append(line(run.validation, colour, 2))
        for point in run.validation:
            x, y = place(*point)
            out.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        x, y = place(*run.validation[-1])
        # Curves may end close together; their labels must not.
        label_place = max(y + 4, label_place + 15)
        text = f"{run.label} {run.validation[-1][1]:.1f}"
        out.append(f'<text x="{x + 8}" y="{label_place}" fill="{colour}">{text}</text>')
    out.append(f'<text x="16" y="{HEIGHT / 2}" fill="#444" text-anchor="middle" '
               f'transform="rotate(-90 16 {HEIGHT / 2})">validation perplexity</text></svg>')
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="[LABEL=]RUN/metrics.jsonl")
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    print(svg([Run(run) for run in options.runs], options.title))


if __name__ == "__main__":
    main()
