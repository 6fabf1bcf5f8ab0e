"""The three language models of milm in plain PyTorch: also the reference that its own passes are tested against.

    embedding ──▶ encoder ──▶ LSTM ──▶ decoder ──▶ z · embeddingᵀ + bias ──▶ softmax

`lstm` has a linear decoder and no encoder, `multdec` a multiplicative decoder, `multencdec` both. Module and parameter
names are those of `model.safetensors`, so a checkpoint is read by `load_state_dict`, which also proves that nothing is
missing, left over or of another shape. There is no dropout here; it does not exist when a text is scored.

Shapes: V vocabulary, E embedding, H hidden, K context, R rank, T steps, B lanes. Everything is time-major, T × B × ….
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

VARIANTS = ("lstm", "multdec", "multencdec")
FORMS = ("full", "lowrank", "diagonal", "scalar")


@dataclass(frozen=True)
class Shape:
    """What decides a model's tensors; contexts, form and rank are ignored by a variant without that part."""

    variant: str
    form: str
    vocabulary: int
    embedding: int
    hidden: int
    decoder_context: int = 0
    encoder_context: int = 0
    rank: int = 0

    @staticmethod
    def of(tensors: Mapping[str, Tensor], variant: str, form: str) -> Shape:
        """The shape that the tensors of a checkpoint have."""

        def width(name: str, axis: int) -> int:
            return tensors[name].shape[axis] if name in tensors else 0

        return Shape(
            variant=variant,
            form=form,
            vocabulary=width("embedding.weight", 0),
            embedding=width("embedding.weight", 1),
            hidden=width("lstm.weight_hh", 1),
            decoder_context=width("decoder.context.weight", 0),
            encoder_context=width("encoder.context.weight", 0),
            rank=width("decoder.A", 1),
        )


class Context(nn.Module):
    """What steers an interaction: c = ReLU(weight · h + bias)."""

    def __init__(self, hidden: int, context: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(context, hidden))
        self.bias = nn.Parameter(torch.zeros(context))

    def preactivation(self, h: Tensor) -> Tensor:
        return h @ self.weight.T + self.bias

    def forward(self, h: Tensor) -> Tensor:
        return torch.relu(self.preactivation(h))


class Linear(nn.Module):
    """The decoder of the variant `lstm`: z = x · V + b, the interaction whose context has width 0."""

    def __init__(self, input_width: int, output_width: int):
        super().__init__()
        self.V = nn.Parameter(torch.zeros(input_width, output_width))
        self.b = nn.Parameter(torch.zeros(output_width))

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return x @ self.V + self.b


class Interaction(nn.Module):
    """A multiplicative interaction M(c, x) with c = ReLU(weight · h + bias), in one of four forms.

    full      zₙ = Σₖₘ cₖ W[k,m,n] xₘ + Σₖ cₖ U[k,n] + Σₘ xₘ V[m,n] + bₙ
    lowrank   W[k,m,n] = Σᵣ A[k,r] B[m,r] C[n,r]
    diagonal  z = (x · V) ⊙ (1 + c · D) + c · U + b
    scalar    z = (x · V) · (1 + c · s) + c · U + b
    """

    def __init__(self, form: str, hidden: int, context: int, input_width: int, output_width: int, rank: int):
        super().__init__()
        self.form = form
        self.context = Context(hidden, context)
        self.V = nn.Parameter(torch.zeros(input_width, output_width))
        self.U = nn.Parameter(torch.zeros(context, output_width))
        self.b = nn.Parameter(torch.zeros(output_width))
        if form == "full":
            self.W = nn.Parameter(torch.zeros(context, input_width, output_width))
        elif form == "lowrank":
            self.A = nn.Parameter(torch.zeros(context, rank))
            self.B = nn.Parameter(torch.zeros(input_width, rank))
            self.C = nn.Parameter(torch.zeros(output_width, rank))
        elif form == "diagonal":
            self.D = nn.Parameter(torch.zeros(context, output_width))
        elif form == "scalar":
            self.s = nn.Parameter(torch.zeros(context))
        else:
            raise ValueError(f"form is one of {', '.join(FORMS)}, found {form!r}")

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        c = self.context(h)
        rest = c @ self.U + self.b
        if self.form == "full":
            # Σₖₘ (cₖ xₘ) W[k,m,n] as one product over the pairs (k, m).
            pairs = (c.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)
            return pairs @ self.W.flatten(0, 1) + x @ self.V + rest
        if self.form == "lowrank":
            return ((c @ self.A) * (x @ self.B)) @ self.C.T + x @ self.V + rest
        if self.form == "diagonal":
            return (x @ self.V) * (1 + c @ self.D) + rest
        return (x @ self.V) * (1 + c @ self.s).unsqueeze(-1) + rest


class LSTM(nn.Module):
    """A long short-term memory cell; gates in the order input, forget, cell, output, one bias."""

    def __init__(self, embedding: int, hidden: int):
        super().__init__()
        self.weight_ih = nn.Parameter(torch.zeros(4 * hidden, embedding))
        self.weight_hh = nn.Parameter(torch.zeros(4 * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(4 * hidden))

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (x @ self.weight_ih.T + h @ self.weight_hh.T + self.bias).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Softmax(nn.Module):
    """The bias of the output tokens; their weights are the input embedding's."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocabulary))


class LanguageModel(nn.Module):
    """A variant put together. Call it with T × B tokens and the state; it gives T × B × E outputs and the new state."""

    def __init__(self, shape: Shape):
        super().__init__()
        if shape.variant not in VARIANTS:
            raise ValueError(f"variant is one of {', '.join(VARIANTS)}, found {shape.variant!r}")
        E, H, form, rank = shape.embedding, shape.hidden, shape.form, shape.rank
        self.hidden = H
        self.embedding = nn.Embedding(shape.vocabulary, E)
        self.softmax = Softmax(shape.vocabulary)
        self.lstm = LSTM(E, H)
        self.decoder: Linear | Interaction = (
            Linear(H, E)
            if shape.variant == "lstm"
            else Interaction(form, H, shape.decoder_context, H, E, rank)
        )
        self.encoder: Interaction | None = (
            Interaction(form, H, shape.encoder_context, E, E, rank) if shape.variant == "multencdec" else None
        )

    @staticmethod
    def read(path: Path) -> LanguageModel:
        """The model in a `model.safetensors`."""
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if not metadata or not {"variant", "form"} <= metadata.keys():
            raise ValueError(f"{path}: expected variant and form in its metadata, found none; milm import reads weights")
        model = LanguageModel(Shape.of(tensors, metadata["variant"], metadata["form"]))
        model.load_state_dict(tensors)
        return model

    def zero_state(self, lanes: int) -> tuple[Tensor, Tensor]:
        zeros = self.softmax.bias.new_zeros(lanes, self.hidden)
        return zeros, zeros

    def forward(self, words: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = []
        for x in self.embedding(words):
            # The encoder's context is the state before this token.
            h, c = self.lstm(x if self.encoder is None else self.encoder(h, x), h, c)
            hidden.append(h)
        outputs = torch.stack(hidden)
        return self.decoder(outputs, outputs), h, c

    def logits(self, z: Tensor) -> Tensor:
        return z @ self.embedding.weight.T + self.softmax.bias
