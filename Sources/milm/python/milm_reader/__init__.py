"""Reads runs, checkpoints and corpora of milm.

    import milm_reader
    model = milm_reader.load("run")                       # a torch.nn.Module with the best checkpoint's weights
    words = milm_reader.vocabulary("corpus")              # ids ↔ words
    lines = milm_reader.metrics("run")                    # a dict for each line of metrics.jsonl
    milm_reader.perplexity("run", "corpus")["perplexity"]

A RUN is a run's directory, a checkpoint's, or a `model.safetensors`. PyTorch is imported when a model is first asked for.
"""

from __future__ import annotations

from .files import ReaderError, Vocabulary, checkpoint, metrics, tokens, vocabulary

__version__ = "0.2.0"
__all__ = [
    "LanguageModel", "ReaderError", "Vocabulary", "checkpoint", "load", "metrics", "perplexity", "tokens", "vocabulary",
]


def __getattr__(name: str):
    if name in ("load", "perplexity"):
        from . import scoring

        return getattr(scoring, name)
    if name == "LanguageModel":
        from .model import LanguageModel

        return LanguageModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
