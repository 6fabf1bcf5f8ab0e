"""The Transformer-XL (Dai et al., ACL 2019) in plain PyTorch, and the form of it whose residual sums are multiplicative.

Parameter names are those of `model.safetensors`. Written from the paper's equations:

    s(i, j) = ((qᵢ + u)·kⱼ + (qᵢ + w)·r(i − j)) / √width,   o = softmax(s) v
    y = LayerNorm(x + o·Wₒ)   or   LayerNorm(x ⊙ (1 + o·D) + o·Wₒ),   x' = LayerNorm(y + FeedForward(y))

Shapes: T steps, B lanes, d width, M memory. Everything is time-major, T × B × d.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from .model import Interaction, Linear, Softmax

VARIANTS = ("txl", "txl-multdec", "txl-mi")


@dataclass(frozen=True)
class TransformerShape:
    """What decides a model's tensors, and how it reads: memory, and clamp, the largest distance with a position of its own."""

    variant: str
    form: str
    vocabulary: int
    embedding: int
    layers: int
    width: int
    heads: int
    inner: int
    memory: int
    clamp: int = 0
    decoder_context: int = 0
    rank: int = 0

    @staticmethod
    def of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> TransformerShape:
        """The shape of the model in a `model.safetensors`."""
        model = json.loads(metadata["config"])["model"]
        vocabulary, embedding = tensors["embedding.weight"].shape
        return TransformerShape(
            variant=metadata["variant"], form=metadata["form"], vocabulary=vocabulary, embedding=embedding,
            clamp=model["attention"]["clamp"], decoder_context=model["decoderContext"], rank=model["rank"],
            **{key: model[key] for key in ("layers", "width", "heads", "inner", "memory")},
        )


class Norm(nn.Module):
    """Layer normalization with ε = 1e-5."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:], self.gain, self.bias, 1e-5)


class Attention(nn.Module):
    """Attention to the segment and the memory with relative positions, and the residual sum around it."""

    def __init__(self, width: int, heads: int, modulated: bool):
        super().__init__()
        self.heads = heads
        for name in ("query", "key", "value", "position", "output") + (("modulation",) if modulated else ()):
            setattr(self, name, nn.Parameter(torch.zeros(width, width)))
        self.modulated = modulated
        self.norm = Norm(width)

    def forward(self, x: Tensor, rows: Tensor, positions: Tensor, biases: Biases, longest: int | None) -> Tensor:
        """`rows` ends with x and begins with the memory; `positions` has a row for each distance from 0 on."""

        def split(values: Tensor) -> Tensor:
            return values.unflatten(-1, (self.heads, -1))

        u, w = split(biases.contentBias), split(biases.positionBias)
        q, k, v, r = split(x @ self.query), split(rows @ self.key), split(rows @ self.value), split(positions @ self.position)
        distance = len(rows) - len(x) + torch.arange(len(x))[:, None] - torch.arange(len(rows))[None, :]
        content = torch.einsum("ibhn,jbhn->bhij", q + u, k)
        by_distance = torch.einsum("ibhn,jhn->bhij", q + w, r)
        positional = by_distance.gather(-1, distance.clamp(min=0).expand_as(by_distance))
        scores = (content + positional) / math.sqrt(q.shape[-1])
        seen = distance >= 0 if longest is None else (distance >= 0) & (distance <= longest)
        weights = torch.softmax(scores.masked_fill(~seen, -math.inf), -1)
        o = torch.einsum("bhij,jbhn->ibhn", weights, v).flatten(-2)
        stream = x * (1 + o @ self.modulation) if self.modulated else x
        return self.norm(stream + o @ self.output)


class Affine(nn.Module):
    """x · weight + bias."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class FeedForward(nn.Module):
    """The block of two affine maps with ReLU between, and the residual sum around it."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.add_module("0", Affine(width, inner))
        self.add_module("1", Affine(inner, width))
        self.norm = Norm(width)

    def preactivation(self, x: Tensor) -> Tensor:
        return self.get_submodule("0")(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.get_submodule("1")(torch.relu(self.preactivation(x))))


class Layer(nn.Module):
    """Attention and a feed-forward block."""

    def __init__(self, width: int, inner: int, heads: int, modulated: bool):
        super().__init__()
        self.attention = Attention(width, heads, modulated)
        self.feedforward = FeedForward(width, inner)


class Biases(nn.Module):
    """u and w, which all layers share."""

    def __init__(self, width: int):
        super().__init__()
        self.contentBias = nn.Parameter(torch.zeros(width))
        self.positionBias = nn.Parameter(torch.zeros(width))


class Input(nn.Module):
    """The map from the embedding to the width of the layers."""

    def __init__(self, embedding: int, width: int):
        super().__init__()
        self.projection = nn.Parameter(torch.zeros(embedding, width))


def sinusoids(count: int, width: int, clamp: int, like: Tensor) -> Tensor:
    """A row for each distance from 0 to count − 1."""
    distance = torch.arange(count, dtype=torch.float64)
    if clamp > 0:
        distance = distance.clamp(max=clamp)
    frequency = 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = distance[:, None] * frequency
    return torch.cat([angles.sin(), angles.cos()], -1).to(like)


class TransformerLanguageModel(nn.Module):
    """A variant put together. Call it with T × B tokens and the memories; it gives T × B × E outputs and the new memories.

    In evaluation mode every token sees exactly `memory` tokens before it, however the text is cut; in training mode all of
    its segment's, and the memory.
    """

    def __init__(self, shape: TransformerShape):
        super().__init__()
        if shape.variant not in VARIANTS:
            raise ValueError(f"variant is one of {', '.join(VARIANTS)}, found {shape.variant!r}")
        E, d = shape.embedding, shape.width
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, E)
        self.softmax = Softmax(shape.vocabulary)
        self.input: Input | None = None if E == d else Input(E, d)
        self.attention = Biases(d)
        self.layers = nn.ModuleList(
            Layer(d, shape.inner, shape.heads, shape.variant == "txl-mi") for _ in range(shape.layers)
        )
        self.decoder: Linear | Interaction | None = None
        if shape.variant == "txl-multdec":
            self.decoder = Interaction(shape.form, d, shape.decoder_context, d, E, shape.rank)
        elif E != d:
            self.decoder = Linear(d, E)

    @staticmethod
    def read(path: Path) -> TransformerLanguageModel:
        """The model in a `model.safetensors`."""
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            model = TransformerLanguageModel(TransformerShape.of(tensors, file.metadata()))
        model.load_state_dict(tensors)
        return model

    def zero_state(self, lanes: int) -> list[Tensor]:
        """Empty memories of all layers."""
        return [self.softmax.bias.new_zeros(0, lanes, self.shape.width) for _ in self.layers]

    def forward(self, words: Tensor, *memories: Tensor) -> tuple[Tensor, ...]:
        x = self.embedding(words)
        if self.input is not None:
            x = x @ self.input.projection
        x = math.sqrt(self.shape.width) * x
        positions = sinusoids(len(memories[0]) + len(words), self.shape.width, self.shape.clamp, x)
        longest = None if self.training else self.shape.memory
        kept = []
        for layer, memory in zip(self.layers, memories):
            rows = torch.cat([memory, x])
            kept.append(rows[max(0, len(rows) - self.shape.memory) :].detach())
            x = layer.feedforward(layer.attention(x, rows, positions, self.attention, longest))
        return (x if self.decoder is None else self.decoder(x, x), *kept)

    def logits(self, z: Tensor) -> Tensor:
        return z @ self.embedding.weight.T + self.softmax.bias
