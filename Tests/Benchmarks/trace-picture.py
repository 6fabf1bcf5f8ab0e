#!/usr/bin/env python3
"""Plots some steps of a trace as SVG: for each rank its computation and, below it, its communication and coding.

    Tests/Benchmarks/trace-picture.py RUN/trace FIRST-STEP LAST-STEP > trace.svg
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, ROW, GAP = 1040, 172, 16, 64, 26, 14
COLORS = {
    "forward, softmax backward": "#2b6bd8",
    "softmax backward": "#4479e0",
    "decoder backward": "#5f93ee",
    "lstm backward": "#93b6f6",
    "encoder backward": "#abc6f8",
    "input embedding backward": "#c3d6fa",
    "optimizer step": "#8d877e",
    "waiting": "#cf5208",
    "encode": "#0b857a",
    "wire": "#7fd0c4",
    "decode": "#3f6b3a",
}


def kind(event: dict) -> str:
    """The legend's name for an event."""
    if event["cat"] == "wait":
        return "waiting"
    if event["name"].startswith("embedding.weight"):
        return "softmax backward"
    return event["name"].split(" ")[0] if event["cat"] == "exchange" else event["name"]


def plot(directory: str, first: int, last: int) -> None:
    ranks = [json.loads(path.read_text()) for path in sorted(Path(directory).glob("rank-*.json"))]
    steps = [
        e for rank in ranks for e in rank if e.get("cat") == "step" and first <= int(e["name"].split()[1]) <= last
    ]
    if not steps:
        sys.exit(f"trace-picture: expected steps from {first} to {last} in {directory}, found none")
    start, end = min(e["ts"] for e in steps), max(e["ts"] + e["dur"] for e in steps)
    height = TOP + len(ranks) * (3 * ROW + GAP) + 30

    def x(time: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (time - start) / (end - start), 2)

    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    )
    place = LEFT
    for index, (name, color) in enumerate(COLORS.items()):
        if index == 5:
            place = LEFT
        y = 18 if index < 5 else 38
        print(f'<rect x="{place}" y="{y - 9}" width="10" height="10" rx="2" fill="{color}"/>')
        print(f'<text x="{place + 15}" y="{y}" fill="#333">{name}</text>')
        place += 38 + 6.2 * len(name)
    for number, rank in enumerate(ranks):
        top = TOP + number * (3 * ROW + GAP)
        label = next(e["args"]["name"] for e in rank if e["name"] == "process_name")
        print(f'<text x="8" y="{top + 17}" fill="#111" font-weight="bold">{escape(label.split(" (")[0])}, training</text>')
        print(f'<text x="8" y="{top + ROW + 17}" fill="#444">communication</text>')
        print(f'<text x="8" y="{top + 2 * ROW + 17}" fill="#444">coding</text>')
        for event in rank:
            if event.get("ph") != "X" or event["cat"] == "step" or not start <= event["ts"] < end:
                continue
            color = COLORS.get(kind(event), "#d8d4cc")
            y = top + ROW * event["tid"]
            width = max(x(event["ts"] + event["dur"]) - x(event["ts"]), 0.3)
            print(
                f'<rect x="{x(event["ts"])}" y="{y + 2}" width="{width:.2f}" height="{ROW - 4}" fill="{color}">'
                f'<title>{escape(event["name"])}, {event["dur"] / 1000:.2f} ms</title></rect>'
            )
    bottom = height - 24
    length = (end - start) / 1000
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000) if length / s <= 10)
    for tick in range(0, int(length) + 1, step):
        print(f'<path d="M{x(start + tick * 1000)} {TOP - 6}V{bottom}" stroke="#00000022"/>')
        print(f'<text x="{x(start + tick * 1000)}" y="{bottom + 16}" text-anchor="middle" fill="#444">{tick}</text>')
    print(f'<text x="8" y="{bottom + 16}" fill="#444">milliseconds</text></svg>')


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="RUN/trace")
    parser.add_argument("first", type=int, help="first step")
    parser.add_argument("last", type=int, help="last step")
    arguments = parser.parse_args()
    plot(arguments.directory, arguments.first, arguments.last)
