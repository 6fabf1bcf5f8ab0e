"""The modes of both PyTorch peers, and the import path of their reference, milm_reader/model.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "Sources/milm/python"))


@dataclass(frozen=True)
class Mode:
    """A precision, and whether parts of the model are compiled."""

    name: str
    dtype: torch.dtype
    is_compiled: bool

    def prepared(self, function: Callable) -> Callable:
        """The function as this mode runs it."""
        return torch.compile(function) if self.is_compiled else function


MODES = {
    mode.name: mode
    for mode in (
        Mode("fp32-eager", torch.float32, False),
        Mode("fp32-compiled", torch.float32, True),
        Mode("bf16-eager", torch.bfloat16, False),
        Mode("bf16-compiled", torch.bfloat16, True),
    )
}
