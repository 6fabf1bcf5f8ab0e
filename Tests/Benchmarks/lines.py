#!/usr/bin/env python3
"""Measures `milm evaluate --lines` against one process per line and against the same text scored as streams.

    Tests/Benchmarks/lines.py RUN [--milm MILM] [--lines 10000] [--tokens 20] [--processes 20]

Scores LINES lines of TOKENS tokens (the last is <eos>) of random entries of the run's vocabulary in three ways: all
lines through a pipe, PROCESSES lines with one process each, and the text with --streams 64. Prints tokens per second of
wall time, start of the program included, and exits with 1 unless lines are at least 10 times as fast as one process per
line and at least half as fast as streams.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--milm", default=Path(__file__).resolve().parents[2] / ".build/release/milm", type=Path)
    parser.add_argument("--lines", default=10_000, type=int)
    parser.add_argument("--tokens", default=20, type=int)
    parser.add_argument("--processes", default=20, type=int)
    arguments = parser.parse_args()

    words = (arguments.run / "vocabulary.txt").read_text().split()
    generator = random.Random(1)
    lines = [" ".join(generator.choices(words, k=arguments.tokens - 1)) + "\n" for _ in range(arguments.lines)]

    def evaluate(*options: str, text: str | None = None) -> float:
        """Seconds of a command."""
        begun = time.monotonic()
        subprocess.run(
            [arguments.milm, "evaluate", arguments.run, *options], input=text, text=True, check=True,
            stdout=subprocess.PIPE)
        return time.monotonic() - begun

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text"
        file.write_text("".join(lines))
        count = arguments.lines * arguments.tokens
        piped = count / evaluate("--lines", "-", text="".join(lines))
        streams = count / evaluate("--text", str(file), "--streams", "64")
    alone = arguments.tokens * arguments.processes / sum(
        evaluate("--lines", "-", text=line) for line in lines[: arguments.processes])
    print(f"lines {piped:.0f} tokens/s, {piped / alone:.1f} x one process per line ({alone:.0f} tokens/s), "
          f"{piped / streams:.2f} x streams ({streams:.0f} tokens/s)")
    if piped < 10 * alone or piped < streams / 2:
        sys.exit("lines.py: expected at least 10 x one process per line and 0.5 x streams")


if __name__ == "__main__":
    main()
