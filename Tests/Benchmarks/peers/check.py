"""Fails unless both peers compute the same loss, state and gradients as milm_reader/model.py.

    python3 Tests/Benchmarks/peers/check.py

Tiny shapes, no dropout, every style, variant and mode, two segments with carried state. Tolerances are relative to the
norm of the tensor: 1e-5 in float32, 1e-1 in bfloat16 (8 bits of mantissa, accumulated over a recurrence).
"""

from __future__ import annotations

import sys
from itertools import product

if {"-h", "--help"} & set(sys.argv[1:]):
    sys.exit(print(__doc__))

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import cross_entropy

from measure import STYLES
from modes import MODES, Mode
from milm_reader.model import VARIANTS, LanguageModel, Shape
from standard import Standard
from tuned import Tuned

LANES, STEPS, VOCABULARY = 8, 6, 64
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-1}


def compare(name: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Fails where two tensors differ by more than the tolerance."""
    difference = (torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected)).item()
    if not difference <= tolerance:
        raise SystemExit(f"{name}: expected a difference of at most {tolerance:g}, found {difference:.1e}")


def counterparts(reference: LanguageModel, peer: Standard | Tuned) -> dict[str, tuple[Parameter, Parameter]]:
    """Pairs of the reference's tensors and the peer's, set to equal values; tensors that only the peer has are zeroed."""
    own = dict(peer.named_parameters())
    for parameter in own.values():
        torch.nn.init.zeros_(parameter)
    pairs = {name: (tensor, own[peer.name_here(name)]) for name, tensor in reference.named_parameters()}
    for theirs, ours in pairs.values():
        ours.data.copy_(theirs.data)
    return pairs


def check_variant(style: str, mode: Mode, variant: str) -> None:
    """Compares two training segments and the scores of a third."""
    shape = Shape(variant, "full", VOCABULARY, 16, 48, decoder_context=12, encoder_context=20)
    # Beyond its recompilation limit torch.compile silently runs uncompiled code.
    torch.compiler.reset()
    reference, peer = LanguageModel(shape), STYLES[style](shape, mode)
    for parameter in reference.parameters():
        torch.nn.init.uniform_(parameter, -0.2, 0.2)
    pairs = counterparts(reference, peer)
    name, tolerance = f"{style} {variant} {mode.name}", TOLERANCE[mode.dtype]

    theirs = ours = reference.zero_state(LANES)
    for _ in range(2):
        tokens = torch.randint(VOCABULARY, (STEPS + 1, LANES))
        z, *theirs = reference(tokens[:-1], *(tensor.detach() for tensor in theirs))
        expected = cross_entropy(reference.logits(z).flatten(0, 1), tokens[1:].flatten())
        found, *ours = peer(tokens[:-1], tokens[1:], *(tensor.detach() for tensor in ours))
        compare(f"{name}: loss", found.detach(), expected.detach(), tolerance)
        expected.backward()
        found.backward()
    for tensor, (wanted, got) in pairs.items():
        compare(f"{name}: gradient of {tensor}", got.grad, wanted.grad, tolerance)

    peer.eval()
    with torch.inference_mode():
        z, *_ = reference(tokens[:-1], *theirs)
        expected = cross_entropy(reference.logits(z).flatten(0, 1), tokens[1:].flatten(), reduction="none")
        found, *_ = peer(tokens[:-1], tokens[1:], *ours)
    compare(f"{name}: scores", found, expected, tolerance)


def check() -> None:
    """Compares every style and variant in every mode."""
    torch.manual_seed(7)
    for style, mode in product(STYLES, MODES.values()):
        for variant in VARIANTS:
            check_variant(style, mode, variant)
        print(f"{style} {mode.name}: loss, gradients and scores equal the reference", flush=True)


if __name__ == "__main__":
    check()
