"""The options of measure.py and ddp.py, and the names they take; without PyTorch, so that --help needs no package."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

VARIANTS = ("lstm", "multdec", "multencdec")
STYLES = ("standard", "tuned")
PEER_MODES = {
    "bfloat16": ("bf16-compiled", "bf16-eager"),
    "float32": ("fp32-compiled", "fp32-eager"),
}
MODES = [mode for of_precision in PEER_MODES.values() for mode in of_precision]


def parsed(description: str | None, command_line: list[str] | None = None) -> argparse.Namespace:
    """The options of measure.py (default: this program's command line)."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--variant", default="multencdec", choices=VARIANTS)
    parser.add_argument("--style", default="standard", choices=STYLES)
    parser.add_argument("--mode", default="bf16-compiled", choices=MODES)
    parser.add_argument("--task", default="train", choices=["train", "evaluate"])
    parser.add_argument("--corpus", type=Path, help="what milm prepare wrote; its training split is read")
    sizes = {"lanes": 16, "segment": 64, "vocabulary": 267_735, "embedding": 256, "hidden": 2048}
    sizes |= {"decoder-context": 32, "encoder-context": 72, "steps": 3, "warmup": 2}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--learning-rate", type=float, default=1e-4, metavar="X")
    return parser.parse_args(command_line)
