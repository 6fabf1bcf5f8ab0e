"""milm's language models as a PyTorch user writes them: the baseline of milm's speed.

`torch.autocast` in bfloat16, autograd for everything, whole logits and `cross_entropy`; the parts are the modules of
milm_reader/model.py. Without an encoder the LSTM is `nn.LSTM`, which runs all T steps in one call and which
torch.compile does not change. With an encoder, which needs the state before each token, it is a loop of `linear`; x·W of
the interaction does not depend on the state and is computed before the loop.

A compiled mode passes one step of that loop, and decoder with softmax and loss, to torch.compile: compiling the unrolled T
steps takes more than eight minutes.

Shapes as in model.py: V vocabulary, E embedding, H hidden, K context, T steps, B lanes, time-major.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from modes import Mode
from milm_reader.model import LanguageModel, Shape

State = tuple[Tensor, Tensor]


def encoded_step(products: Tensor, rest: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> State:
    """Encoder and LSTM for one token; `products`, B × K × E, is x·W + U and `rest`, B × E, is x·V + b."""
    context_weight, context_bias, weight_ih, weight_hh, bias = weights
    context = torch.relu(functional.linear(h, context_weight, context_bias))
    z = torch.einsum("bk,bke->be", context, products) + rest
    i, f, g, o = (functional.linear(z, weight_ih, bias) + functional.linear(h, weight_hh)).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


class Standard(LanguageModel):
    """A language model with its loss, in one of the modes."""

    def __init__(self, shape: Shape, mode: Mode, input_dropout: float = 0.0, output_dropout: float = 0.0):
        super().__init__(shape)
        if self.encoder is None:
            self.lstm = nn.LSTM(shape.embedding, shape.hidden)
        self.input_dropout = nn.Dropout(input_dropout)
        self.output_dropout = nn.Dropout(output_dropout)
        self._dtype = mode.dtype
        self._step = mode.prepared(encoded_step)
        self._losses = mode.prepared(self._losses_of_hidden)

    def name_here(self, name: str) -> str:
        """The name here of a tensor of the reference; nn.LSTM has an additional bias."""
        if self.encoder is None and name.startswith("lstm."):
            return name.replace("bias", "bias_ih") + "_l0"
        return name

    def forward(self, tokens: Tensor, targets: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Negative log-likelihoods of T × B targets, their mean when training, and the new state."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._dtype is torch.bfloat16):
            x = self.input_dropout(self.embedding(tokens))
            hidden, h, c = self._plain_steps(x, h, c) if self.encoder is None else self._encoded_steps(x, h, c)
            return self._losses(hidden, targets), h, c

    def _plain_steps(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, (h, c) = self.lstm(x, (h.unsqueeze(0), c.unsqueeze(0)))
        return hidden, h.squeeze(0), c.squeeze(0)

    def _encoded_steps(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        encoder, lstm = self.encoder, self.lstm
        products = torch.einsum("tbm,kmn->tbkn", x, encoder.W) + encoder.U
        rest = x @ encoder.V + encoder.b
        # Autocast caches converted weights, but not across calls of compiled functions.
        parameters = (encoder.context.weight, encoder.context.bias, lstm.weight_ih, lstm.weight_hh, lstm.bias)
        weights = [parameter.to(self._dtype) for parameter in parameters]
        hidden = []
        for of_token in zip(products, rest):
            h, c = self._step(*of_token, h, c, weights)
            hidden.append(h)
        return torch.stack(hidden), h, c

    def _losses_of_hidden(self, hidden: Tensor, targets: Tensor) -> Tensor:
        z = self.output_dropout(self.decoder(hidden, hidden))
        logits = functional.linear(z, self.embedding.weight, self.softmax.bias)
        reduction = "mean" if self.training else "none"
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction=reduction)
