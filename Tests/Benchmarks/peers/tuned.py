"""milm's language models optimized by hand for PyTorch on a CPU: the stronger baseline of milm's speed.

The tensors, their names and the formulas are those of milm_reader/model.py. The differences are what a practitioner
would tune, and none of them changes the loss:

* products that do not depend on the state (the LSTM's input, the encoder's x·W) are one product over all T steps;
* in bfloat16 each weight is converted once per step, as autocast does; accumulators, cell state, loss and Adam are float32;
* the gradient of a weight used in all T steps is one product over T·B rows (`WeightGradientOfAllSteps`);
* `compiled` passes one step of the recurrence, and decoder with softmax and loss, to torch.compile. Compiling the
  unrolled T steps takes minutes and is no faster.

Shapes as in model.py: V vocabulary, E embedding, H hidden, K context, T steps, B lanes, time-major.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from modes import Mode
from milm_reader.model import Interaction, LanguageModel, Linear, Shape

State = tuple[Tensor, Tensor]


class WeightGradientOfAllSteps(torch.autograd.Function):
    """Computes the gradient of a recurrent weight in one product instead of T.

    Returns `rows`, T × B × N, unchanged; each step adds its own `input · weightᵀ` to them with the weight detached. The
    gradient of `rows` is then that of all products, and `inputs`, which the steps fill, holds their other factor.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, weight: Tensor, inputs: list[Tensor]) -> Tensor:
        ctx.inputs = inputs
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        inputs = torch.cat(ctx.inputs)
        return gradient, gradient.flatten(0, 1).to(inputs.dtype).T @ inputs, None


def cell(gates: Tensor, c: Tensor) -> State:
    """The LSTM cell after its products; c is float32."""
    i, f, g, o = gates.float().chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return (torch.sigmoid(o) * torch.tanh(c)).to(gates.dtype), c


def plain_step(gates: Tensor, h: Tensor, c: Tensor, weight: Tensor) -> State:
    """One step whose input product is in `gates`, B × 4H."""
    return cell(torch.addmm(gates, h, weight.T), c)


def encoded_step(
    context: Tensor, products: Tensor, rest: Tensor, gates: Tensor, h: Tensor, c: Tensor, weights: State
) -> tuple[Tensor, Tensor, Tensor]:
    """One step behind the encoder: h, c and the LSTM's input [z, h].

    `products`, B × K × E, is x·W + U and `rest` x·V + b; `context`, B × K, and `gates`, B × 4H, hold biases.
    """
    context_weight, weight = weights
    context = torch.relu(torch.addmm(context, h, context_weight.T))
    z = torch.baddbmm(rest.unsqueeze(1), context.unsqueeze(1), products).squeeze(1)
    joined = torch.cat([z, h], dim=1)
    h, c = cell(torch.addmm(gates, joined, weight.T), c)
    return h, c, joined


class Tuned(LanguageModel):
    """A language model with its loss, in one of the modes."""

    def __init__(self, shape: Shape, mode: Mode, input_dropout: float = 0.0, output_dropout: float = 0.0):
        super().__init__(shape)
        self.dtype = mode.dtype
        self.input_dropout = input_dropout
        self.output_dropout = output_dropout
        self._plain_step = mode.prepared(plain_step)
        self._encoded_step = mode.prepared(encoded_step)
        self._losses = mode.prepared(self._losses_of_hidden)

    def name_here(self, name: str) -> str:
        """The name here of a tensor of the reference: the same."""
        return name

    def forward(self, tokens: Tensor, targets: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Negative log-likelihoods of T × B targets, their mean when training, and the new state."""
        x = functional.embedding(tokens, self.embedding.weight)
        x = functional.dropout(x, self.input_dropout, self.training).to(self.dtype)
        run = self._plain_steps if self.encoder is None else self._encoded_steps
        hidden, h, c = run(x, h.to(self.dtype), c)
        return self._losses(hidden, targets), h, c

    def _converted(self, *tensors: Tensor) -> Iterable[Tensor]:
        return (tensor.to(self.dtype) for tensor in tensors)

    def _plain_steps(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        input_weight, weight, bias = self._converted(self.lstm.weight_ih, self.lstm.weight_hh, self.lstm.bias)
        before: list[Tensor] = []
        hidden = []
        rows = functional.linear(x, input_weight, bias)
        weight_of_steps = weight.detach()
        for gates in WeightGradientOfAllSteps.apply(rows, weight, before).unbind(0):
            before.append(h.detach())
            h, c = self._plain_step(gates, h, c, weight_of_steps)
            hidden.append(h)
        return torch.cat(hidden), h, c

    def _encoded_steps(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps, lanes, _ = x.shape
        joint = torch.cat([self.lstm.weight_ih, self.lstm.weight_hh], dim=1)
        context = self.encoder.context
        weight, bias, context_weight, context_bias = self._converted(
            joint, self.lstm.bias, context.weight, context.bias
        )
        before: list[Tensor] = []
        joined_inputs: list[Tensor] = []
        contexts = WeightGradientOfAllSteps.apply(
            context_bias.expand(steps, lanes, -1), context_weight, before
        )
        gates = WeightGradientOfAllSteps.apply(bias.expand(steps, lanes, -1), weight, joined_inputs)
        products, rest = self._input_products(x)
        weights = (context_weight.detach(), weight.detach())
        hidden = []
        for of_step in zip(*(rows.unbind(0) for rows in (contexts, products, rest, gates))):
            before.append(h.detach())
            h, c, joined = self._encoded_step(*of_step, h, c, weights)
            joined_inputs.append(joined.detach())
            hidden.append(h)
        return torch.cat(hidden), h, c

    def _input_products(self, x: Tensor) -> State:
        """x·W + U, T × B × K × E, and x·V + b, T × B × E, of the encoder."""
        W, V, U, b = self._converted(self.encoder.W, self.encoder.V, self.encoder.U, self.encoder.b)
        K, M, N = W.shape
        products = (x @ W.permute(1, 0, 2).reshape(M, K * N)).view(*x.shape[:2], K, N)
        return products + U, x @ V + b

    def _decoded(self, hidden: Tensor) -> Tensor:
        """z, T·B × E."""
        decoder = self.decoder
        if isinstance(decoder, Linear):
            V, b = self._converted(decoder.V, decoder.b)
            return torch.addmm(b, hidden, V)
        return self._interaction(decoder, hidden)

    def _interaction(self, decoder: Interaction, hidden: Tensor) -> Tensor:
        W, V, U, b, context_weight, context_bias = self._converted(
            decoder.W, decoder.V, decoder.U, decoder.b, decoder.context.weight, decoder.context.bias
        )
        context = torch.relu(functional.linear(hidden, context_weight, context_bias))
        pairs = (context.unsqueeze(-1) * hidden.unsqueeze(-2)).flatten(-2)
        return pairs @ W.flatten(0, 1) + hidden @ V + context @ U + b

    def _losses_of_hidden(self, hidden: Tensor, targets: Tensor) -> Tensor:
        z = functional.dropout(self._decoded(hidden), self.output_dropout, self.training)
        weight, bias = self._converted(self.embedding.weight, self.softmax.bias)
        logits = functional.linear(z, weight, bias).float()
        reduction = "mean" if self.training else "none"
        return functional.cross_entropy(logits, targets.flatten(), reduction=reduction)
