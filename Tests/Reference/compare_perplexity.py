"""Fails unless milm and PyTorch agree on the perplexity of a checkpoint.

    python3 compare_perplexity.py .build/release/milm RUN/checkpoints/best CORPUS [--split test] [--tolerance 1e-4]

Runs `milm evaluate` and scores the same checkpoint and split with milm_reader, both in float32, and compares the number of
tokens and the perplexity. Exit status 1, with one line, if they differ by more than the relative tolerance.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "Sources/milm/python"))


def milm_perplexity(milm: Path, checkpoint: Path, corpus: Path, split: str) -> dict:
    command = [milm, "evaluate", checkpoint, "--corpus", corpus, "--split", split, "--json"]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        raise SystemExit(f"milm evaluate {checkpoint}: expected exit status 0, found {run.returncode}")
    return json.loads(run.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compares the perplexity of milm with that of PyTorch.")
    parser.add_argument("milm", type=Path, help="the program")
    parser.add_argument("checkpoint", type=Path, help="the directory that holds model.safetensors")
    parser.add_argument("corpus", type=Path, help="the directory that milm prepare wrote")
    parser.add_argument("--split", default="test", choices=["train", "valid", "test"])
    parser.add_argument("--tolerance", type=float, default=1e-4, metavar="X", help="relative")
    arguments = parser.parse_args()
    # --help does without PyTorch.
    from milm_reader import perplexity

    ours = milm_perplexity(arguments.milm.resolve(), arguments.checkpoint, arguments.corpus, arguments.split)
    theirs = perplexity(arguments.checkpoint, arguments.corpus, arguments.split)
    difference = abs(ours["perplexity"] - theirs["perplexity"]) / theirs["perplexity"]
    found = f"milm {ours['perplexity']:.6f}, PyTorch {theirs['perplexity']:.6f}, difference {difference:.1e}"
    if ours["tokens"] != theirs["tokens"]:
        raise SystemExit(
            f"{arguments.split}: expected equal numbers of tokens, found {ours['tokens']} and {theirs['tokens']}"
        )
    if not difference <= arguments.tolerance:
        raise SystemExit(
            f"{arguments.split}: expected a difference of at most {arguments.tolerance:g}, found {found}"
        )
    print(f"{arguments.split}: {ours['tokens']} tokens, {found}")
