"""Models with the weights of checkpoints, and the perplexity of a text."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import cross_entropy

from .files import ReaderError, checkpoint, tokens, vocabulary
from .model import LanguageModel
from .transformer import VARIANTS as TRANSFORMERS
from .transformer import TransformerLanguageModel

CHUNK = 128


def load(run: str | Path) -> LanguageModel | TransformerLanguageModel:
    """The model of a checkpoint, or of a run's best one, else its newest, in evaluation mode."""
    path = checkpoint(run) / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        variant = (file.metadata() or {}).get("variant")
    kind = TransformerLanguageModel if variant in TRANSFORMERS else LanguageModel
    return kind.read(path).eval()


def perplexity(run: str | Path, corpus: str | Path, split: str = "test", limit: int | None = None) -> dict:
    """The perplexity of a split, or of its first `limit` tokens, as `milm evaluate` defines it; `nll` in nats is the total."""
    model = load(run)
    words = vocabulary(corpus)
    if len(words) != model.embedding.num_embeddings:
        raise ReaderError(
            f"{corpus}: expected the model's vocabulary of {model.embedding.num_embeddings} words, found {len(words)}"
        )
    ids = tokens(corpus, split)[:limit]
    if len(ids) == 0:
        raise ReaderError(f"{corpus}: expected tokens in the split {split}, found none")
    nll = score(model, torch.from_numpy(ids.astype("int64")), words.end)
    return {"tokens": len(ids), "nll": nll, "perplexity": math.exp(nll / len(ids))}


@torch.no_grad()
def score(model: LanguageModel | TransformerLanguageModel, targets: Tensor, end: int) -> float:
    """The negative log-likelihood of a text in nats: one stream, its first token predicted from the zero state and `<eos>`."""
    inputs = torch.cat([torch.tensor([end]), targets[:-1]])
    state, nll = model.zero_state(1), 0.0
    for chunk, following in zip(inputs.split(CHUNK), targets.split(CHUNK)):
        z, *state = model(chunk.unsqueeze(1), *state)
        logits = model.logits(z).squeeze(1)
        nll += cross_entropy(logits, following, reduction="none").double().sum().item()
    return nll
