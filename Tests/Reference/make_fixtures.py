"""Makes the fixtures that milm's forward and backward passes are tested against.

    python3 make_fixtures.py [--output ../LanguageModelTests/Fixtures]

One tiny model for every variant and form, with random parameters, state and tokens, over two consecutive segments: the
state is carried from the first to the second and cut there, as training does it. Losses are means in nats over the T·B
tokens of a segment; gradients are those of the sum of the two means. Everything is computed in float64, from values that
float32 holds exactly, and then rounded once. The same command gives the same values.

Each `<variant>-<form>.safetensors` (fp32) holds

    parameter.<name>, gradient.<name>   by the names and shapes of model.safetensors
    state.h, state.c                    B × H, before the first segment; not zero
    state.finalH, state.finalC          B × H, after the second
    state.final.layers.<n>.memory       of a Transformer, which starts with an empty memory: M × B × d, after the second
    tokens.inputs, tokens.targets       2 × T × B, time-major, whole numbers
    losses                              2

and in its metadata variant, form and sizes. The variant lstm has no form; its file is called `lstm-full`.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from pathlib import Path

if __name__ == "__main__":
    # First: --help does without PyTorch.
    parser = argparse.ArgumentParser(description="Makes the fixtures of the language model's tests.")
    directory = Path(__file__).resolve().parent.parent / "LanguageModelTests" / "Fixtures"
    parser.add_argument("--output", type=Path, default=directory)
    arguments = parser.parse_args()

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "Sources/milm/python"))

from milm_reader.model import FORMS, Context, LanguageModel, Shape
from milm_reader.transformer import FeedForward, TransformerLanguageModel, TransformerShape
from milm_reader.transformer import VARIANTS as TRANSFORMERS

SEGMENTS, STEPS, LANES = 2, 5, 3
SIZES = {"vocabulary": 23, "embedding": 6, "hidden": 8}
CONTEXTS = {"decoderContext": 3, "encoderContext": 4, "rank": 3}
TRANSFORMER = {"layers": 2, "width": 8, "heads": 2, "inner": 7, "memory": 4}
KINK = 1e-3  # No context may lie closer to ReLU's kink, where the derivative depends on rounding.


def random_model(shape: Shape | TransformerShape, generator: torch.Generator) -> LanguageModel | TransformerLanguageModel:
    """A float64 model with normal parameters that float32 holds exactly."""
    model = (LanguageModel if isinstance(shape, Shape) else TransformerLanguageModel)(shape).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model


def watch_contexts(model: nn.Module) -> dict[nn.Module, list[Tensor]]:
    """For every context and feed-forward block a list that fills with its pre-activations, from now on."""
    seen: dict[nn.Module, list[Tensor]] = {}
    for module in model.modules():
        if isinstance(module, Context | FeedForward):
            seen[module] = []
            module.register_forward_hook(
                lambda context, inputs, _: seen[context].append(
                    context.preactivation(inputs[0]).detach().flatten()
                )
            )
    return seen


def is_telling(preactivations: Tensor) -> bool:
    """Whether a context keeps off the kink, and is on for some tokens and off for others."""
    return bool(preactivations.abs().min() > KINK and preactivations.min() < 0 < preactivations.max())


def fixture(shape: Shape | TransformerShape, seed: int) -> dict[str, Tensor] | None:
    """All tensors of one file, or nothing where a context that this seed makes is not telling."""
    generator = torch.Generator().manual_seed(seed)
    model = random_model(shape, generator)
    contexts = watch_contexts(model)
    if isinstance(shape, Shape):
        state = [torch.randn(LANES, shape.hidden, generator=generator).double() * 0.5 for _ in range(2)]
        tensors, finals = {"state.h": state[0], "state.c": state[1]}, ["state.finalH", "state.finalC"]
    else:
        state = model.zero_state(LANES)
        tensors, finals = {}, [f"state.final.layers.{index}.memory" for index in range(shape.layers)]
    stream = torch.randint(shape.vocabulary, (SEGMENTS * STEPS + 1, LANES), generator=generator)
    inputs, targets = (words.reshape(SEGMENTS, STEPS, LANES) for words in (stream[:-1], stream[1:]))

    tensors |= {"tokens.inputs": inputs, "tokens.targets": targets}
    losses = []
    for words, following in zip(inputs, targets):
        z, *state = model(words, *(part.detach() for part in state))
        losses.append(cross_entropy(model.logits(z).flatten(0, 1), following.flatten()))
    torch.stack(losses).sum().backward()

    if not all(is_telling(torch.cat(seen)) for seen in contexts.values()):
        return None
    tensors |= dict(zip(finals, state)) | {"losses": torch.stack(losses)}
    for name, parameter in model.named_parameters():
        tensors |= {f"parameter.{name}": parameter, f"gradient.{name}": parameter.grad}
    return {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}


def write(variant: str, form: str, output: Path) -> None:
    sizes = SIZES | CONTEXTS
    shape: Shape | TransformerShape = Shape(variant, form, *sizes.values())
    if variant in TRANSFORMERS:
        sizes |= TRANSFORMER
        shape = TransformerShape(
            variant, form, SIZES["vocabulary"], SIZES["embedding"], **TRANSFORMER,
            decoder_context=CONTEXTS["decoderContext"], rank=CONTEXTS["rank"],
        )
    name = f"{variant}-{form}"
    for attempt in range(1000):
        tensors = fixture(shape, zlib.crc32(f"{name}-{attempt}".encode()))
        if tensors is not None:
            break
    else:
        raise SystemExit(f"{name}: expected telling contexts within 1000 seeds, found none")
    sizes = {"segments": SEGMENTS, "segment": STEPS, "lanes": LANES} | sizes
    metadata = {"variant": variant, "form": form} | {key: str(size) for key, size in sizes.items()}
    path = output / f"{name}.safetensors"
    save_file(tensors, path, metadata)
    losses = ", ".join(f"{loss:.6f}" for loss in tensors["losses"].tolist())
    print(f"{path.name}: {path.stat().st_size} bytes, losses {losses}, seed attempt {attempt}")


if __name__ == "__main__":
    arguments.output.mkdir(parents=True, exist_ok=True)
    write("lstm", "full", arguments.output)
    for variant in TRANSFORMERS:
        write(variant, "full", arguments.output)
    for variant in ("multdec", "multencdec"):
        for form in FORMS:
            write(variant, form, arguments.output)
