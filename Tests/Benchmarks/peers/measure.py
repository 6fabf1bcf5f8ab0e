"""Measures a training or evaluation step of one language model in PyTorch on the CPU; prints one line of JSON.

    python3 Tests/Benchmarks/peers/measure.py --variant multencdec --mode bf16-compiled --lanes 16 --segment 64

A training step is forward, mean loss over lanes × segment tokens, backward, clipping of the norm to 0.25 and Adam; the
state is carried from step to step. Compilation and the first steps are not timed. Style `standard` is the model as a
PyTorch user writes it (standard.py), `tuned` is optimized by hand (tuned.py); check.py compares both with
milm_reader/model.py.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from options import parsed

if __name__ == "__main__":
    # First: --help does without PyTorch.
    arguments = parsed(__doc__)

import torch
from torch import Tensor, nn

from modes import MODES
from milm_reader.model import Shape
from perplexity import read_tokens
from standard import Standard
from tuned import Tuned

STYLES = {"standard": Standard, "tuned": Tuned}
CLIP = 0.25
INPUT_DROPOUT = 0.1
OUTPUT_DROPOUT = 0.2
SEED = 1


def zipf_tokens(count: int, vocabulary: int) -> Tensor:
    """Tokens drawn with frequencies proportional to 1 / (rank + 1)."""
    frequencies = 1 / torch.arange(1, vocabulary + 1, dtype=torch.double)
    return torch.multinomial(frequencies, count, replacement=True)


def segments(tokens: Tensor, lanes: int, segment: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets, T × B, from lanes over equal contiguous parts of the tokens."""
    length = len(tokens) // lanes
    rows = tokens[: lanes * length].view(lanes, length).T.contiguous()
    for start in range(0, length - segment, segment):
        yield rows[start : start + segment], rows[start + 1 : start + segment + 1]


def text(arguments: argparse.Namespace) -> Iterator[tuple[Tensor, Tensor]]:
    """The segments of the warm-up and of the measured steps."""
    length = (arguments.steps + arguments.warmup) * arguments.segment + 1
    count = arguments.lanes * length
    if arguments.corpus is None:
        tokens = zipf_tokens(count, arguments.vocabulary)
    else:
        tokens = read_tokens(arguments.corpus / "train.tokens")[:count]
        if len(tokens) < count:
            raise SystemExit(f"{arguments.corpus}: expected {count} tokens for training, found {len(tokens)}")
        if tokens.max() >= arguments.vocabulary:
            raise SystemExit(
                f"{arguments.corpus}: expected a vocabulary of {arguments.vocabulary}, found token {tokens.max()}"
            )
    return segments(tokens, arguments.lanes, arguments.segment)


def initialise(model: nn.Module) -> None:
    """Small weights, zero biases: the first loss is near ln V."""
    for parameter in model.parameters():
        bound = 0.02 if parameter.dim() > 1 else 0
        nn.init.uniform_(parameter, -bound, bound)


def built(arguments: argparse.Namespace) -> Standard | Tuned:
    shape = Shape(
        arguments.variant,
        "full",
        arguments.vocabulary,
        arguments.embedding,
        arguments.hidden,
        arguments.decoder_context,
        arguments.encoder_context,
    )
    model = STYLES[arguments.style](shape, MODES[arguments.mode], INPUT_DROPOUT, OUTPUT_DROPOUT)
    initialise(model)
    return model


def training(model: Standard | Tuned, lanes: int, rate: float) -> Callable[[Tensor, Tensor], float]:
    """A function that takes a training step and returns its loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    state = model.zero_state(lanes)

    def step(tokens: Tensor, targets: Tensor) -> float:
        nonlocal state
        loss, h, c = model(tokens, targets, *state)
        state = h.detach(), c.detach()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def evaluation(model: Standard | Tuned, lanes: int) -> Callable[[Tensor, Tensor], float]:
    """A function that scores a segment and returns its mean loss."""
    model.eval()
    state = model.zero_state(lanes)

    @torch.inference_mode()
    def block(tokens: Tensor, targets: Tensor) -> float:
        nonlocal state
        losses, *state = model(tokens, targets, *state)
        return losses.mean().item()

    return block


def keep_freed_memory() -> None:
    """Makes glibc reuse freed memory instead of returning it to the system; every step frees gigabytes."""
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    library = ctypes.CDLL(None)
    library.mallopt(trim_threshold, -1)
    library.mallopt(mmap_max, 0)


def peak_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def versions() -> dict[str, str]:
    onednn = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    return {
        "torch": torch.__version__,
        "onednn": onednn[1] if onednn else "none",
        "python": sys.version.split()[0],
        "cpuCapability": torch.backends.cpu.get_cpu_capability(),
    }


def measure(arguments: argparse.Namespace) -> dict:
    """One measurement, as printed."""
    if arguments.style == "tuned":
        keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)
    model = built(arguments)
    if arguments.task == "train":
        step = training(model, arguments.lanes, arguments.learning_rate)
    else:
        step = evaluation(model, arguments.lanes)
    seconds, losses = [], []
    for tokens, targets in text(arguments):
        started = time.perf_counter()
        losses.append(step(tokens, targets))
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds[arguments.warmup :])
    return {
        "tokensPerSecond": arguments.lanes * arguments.segment / median,
        "secondsPerStep": median,
        "fastestSeconds": min(seconds[arguments.warmup :]),
        "peakMegabytes": peak_megabytes(),
        "task": arguments.task,
        "variant": arguments.variant,
        "style": arguments.style,
        "mode": arguments.mode,
        "threads": arguments.threads,
        "lanes": arguments.lanes,
        "segment": arguments.segment,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "firstLoss": losses[0],
        "lastLoss": losses[-1],
        "versions": versions(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(arguments)), flush=True)
