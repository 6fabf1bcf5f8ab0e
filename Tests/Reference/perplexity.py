"""Perplexity of a milm checkpoint in PyTorch: a second opinion, and an example of how to read one.

    python3 perplexity.py RUN/checkpoints/best CORPUS [--split test] [--tokens N]

The split is one stream, its state carried from beginning to end; the first word is predicted from the zero state and an
`<eos>` input. Prints `{"tokens", "nll", "perplexity"}`, `nll` being the total in nats. Needs torch and safetensors.
"""

import argparse
import json
import math
import struct
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from model import LanguageModel

SEGMENT = 128  # Words at a time; the softmax holds 128 × V floats.


def read_tokens(path: Path) -> torch.Tensor:
    """The ids of a token file: magic, version, width in bytes, count, checksum, zeros to 64; then the ids."""
    data = bytearray(path.read_bytes())
    magic, _, width, count = struct.unpack_from("<8sIIQ", data)
    if magic != b"MILMTOK1":
        raise SystemExit(f"{path}: expected a token file (MILMTOK1), found {magic!r}")
    dtype = {2: torch.uint16, 4: torch.int32}[width]
    return torch.frombuffer(data, dtype=dtype, offset=64, count=count).long()


@torch.no_grad()
def score(model: LanguageModel, targets: torch.Tensor, eos: int) -> float:
    """The total negative log-likelihood of the words, in nats."""
    inputs = torch.cat([torch.tensor([eos]), targets[:-1]])
    h, c = model.zero_state(1)
    nll = 0.0
    for words, following in zip(inputs.split(SEGMENT), targets.split(SEGMENT)):
        z, h, c = model(words.unsqueeze(1), h, c)
        nll += cross_entropy(model.logits(z.squeeze(1)), following, reduction="none").double().sum().item()
    return nll


def perplexity(checkpoint: Path, corpus: Path, split: str, limit: int | None = None) -> dict:
    words = (corpus / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
    targets = read_tokens(corpus / f"{split}.tokens")[:limit]
    nll = score(LanguageModel.read(checkpoint / "model.safetensors"), targets, words.index("<eos>"))
    return {"tokens": len(targets), "nll": nll, "perplexity": math.exp(nll / len(targets))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Perplexity of a milm checkpoint, computed by PyTorch.")
    parser.add_argument("checkpoint", type=Path, help="the directory that holds model.safetensors")
    parser.add_argument("corpus", type=Path, help="the directory that milm prepare wrote")
    parser.add_argument("--split", default="test")
    parser.add_argument("--tokens", type=int, metavar="N", help="only the first N words")
    arguments = parser.parse_args()
    print(json.dumps(perplexity(arguments.checkpoint, arguments.corpus, arguments.split, arguments.tokens)))
