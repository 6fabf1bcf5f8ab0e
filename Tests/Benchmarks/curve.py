#!/usr/bin/env python3
"""Plots the perplexity of a run as SVG: training as a line, evaluations as dots.

    Tests/Benchmarks/curve.py RUN/metrics.jsonl > curve.svg
"""

from __future__ import annotations

import argparse
import json
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 64, 16, 24, 44
TICKS = [2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000]


def plot(path: str) -> None:
    lines = [json.loads(line) for line in open(path)]
    training = [(x["step"], x["perplexity"]) for x in lines if "split" not in x and x["perplexity"]]
    evaluations = [(x["step"], x["perplexity"]) for x in lines if x.get("split") == "valid"]
    values = [y for _, y in training + evaluations]
    low = max(t for t in TICKS if t <= min(values))
    high = min(t for t in TICKS if t >= max(values))
    last = max(x for x, _ in training)

    def place(step: float, perplexity: float) -> tuple[float, float]:
        share = (math.log(perplexity) - math.log(low)) / (math.log(high) - math.log(low))
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        return round(x, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    )
    for tick in (t for t in TICKS if low <= t <= high):
        y = place(0, tick)[1]
        print(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#e2e2e2"/>')
        print(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end" fill="#444">{tick}</text>')
    for share in range(0, 5):
        step = last * share // 4
        x = place(step, low)[0]
        print(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#444">{step}</text>')
    print(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle" fill="#444">steps</text>')
    points = " ".join(f"{x},{y}" for x, y in (place(*point) for point in training))
    print(f'<polyline points="{points}" fill="none" stroke="#7aa6d6" stroke-width="1.5"/>')
    for step, perplexity in evaluations:
        x, y = place(step, perplexity)
        print(f'<circle cx="{x}" cy="{y}" r="4" fill="#c2410c"/>')
        print(f'<text x="{x}" y="{y - 9}" text-anchor="middle" fill="#c2410c">{perplexity:.0f}</text>')
    print(f'<text x="{WIDTH - RIGHT - 8}" y="{TOP + 14}" text-anchor="end" fill="#444">perplexity: ', end="")
    print('<tspan fill="#4a7db5">training</tspan>, <tspan fill="#c2410c">validation</tspan></text></svg>')


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metrics", help="metrics.jsonl of a run")
    plot(parser.parse_args().metrics)
