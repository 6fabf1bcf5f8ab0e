"""Compares the reference's Transformer-XL with an independent one: TransfoXLModel of transformers 4.35.2.

    pip install torch transformers==4.35.2 sacremoses
    TRUST_REMOTE_CODE=True python3 compare_transformer.py

Random weights, three segments with the memory carried, all gradients; prints the largest differences and ends with 1 where one
is above 1e-4. Versions after 4.35 do not have the model. The memory is filled before what is compared: that program attends to
M rows of zeros at the start, ours and the original's do not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    # First: --help does without PyTorch.
    argparse.ArgumentParser(description="Compares the reference's Transformer-XL with that of transformers.").parse_args()

import torch
from transformers import TransfoXLConfig, TransfoXLModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "Sources/milm/python"))

from milm_reader.transformer import TransformerLanguageModel, TransformerShape

V, D, HEADS, INNER, LAYERS, STEPS, MEMORY, LANES = 19, 12, 3, 10, 2, 5, 5, 2
LIMIT = 1e-4


def weights(theirs: TransfoXLModel) -> dict[str, torch.Tensor]:
    """Their tensors under our names; linear maps there are stored output-first."""
    tensors = {"embedding.weight": theirs.word_emb.emb_layers[0].weight, "softmax.bias": torch.zeros(V)}
    first = theirs.layers[0].dec_attn
    tensors |= {"attention.contentBias": first.r_w_bias.flatten(), "attention.positionBias": first.r_r_bias.flatten()}
    for index, layer in enumerate(theirs.layers):
        attention, block = layer.dec_attn, layer.pos_ff
        query, key, value = attention.qkv_net.weight.T.chunk(3, dim=1)
        tensors |= {
            f"layers.{index}.attention.{name}": tensor
            for name, tensor in (
                ("query", query), ("key", key), ("value", value), ("position", attention.r_net.weight.T),
                ("output", attention.o_net.weight.T), ("norm.gain", attention.layer_norm.weight),
                ("norm.bias", attention.layer_norm.bias),
            )
        } | {
            f"layers.{index}.feedforward.{name}": tensor
            for name, tensor in (
                ("0.weight", block.CoreNet[0].weight.T), ("0.bias", block.CoreNet[0].bias),
                ("1.weight", block.CoreNet[3].weight.T), ("1.bias", block.CoreNet[3].bias),
                ("norm.gain", block.layer_norm.weight), ("norm.bias", block.layer_norm.bias),
            )
        }
    return tensors


def main() -> int:
    torch.manual_seed(1)
    configuration = TransfoXLConfig(
        vocab_size=V, cutoffs=[], d_model=D, d_embed=D, n_head=HEADS, d_head=D // HEADS, d_inner=INNER, n_layer=LAYERS,
        mem_len=MEMORY, clamp_len=-1, same_length=False, untie_r=False, dropout=0.0, dropatt=0.0, div_val=1,
    )
    theirs = TransfoXLModel(configuration)
    # One pair of biases for all layers, as in the published base.
    for layer in theirs.layers[1:]:
        layer.dec_attn.r_w_bias, layer.dec_attn.r_r_bias = theirs.layers[0].dec_attn.r_w_bias, theirs.layers[0].dec_attn.r_r_bias
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    ours = TransformerLanguageModel(
        TransformerShape("txl", "full", V, D, LAYERS, D, HEADS, INNER, MEMORY)
    ).train()
    with torch.no_grad():
        for name, tensor in weights(theirs).items():
            ours.get_parameter(name).copy_(tensor)
    text = torch.randint(V, (4 * STEPS, LANES))
    memories, mems, largest = ours.zero_state(LANES), None, 0.0
    for index, words in enumerate(text.split(STEPS)):
        z, *memories = ours(words, *memories)
        output = theirs(words.T, mems=mems)
        mems = output.mems
        if index == 0:
            # Both go on from the same full memory.
            mems = memories
            continue
        largest = max(largest, (z - output.last_hidden_state.transpose(0, 1)).abs().max().item())
        target = torch.randn_like(z)
        (z * target).sum().backward()
        (output.last_hidden_state.transpose(0, 1) * target).sum().backward()
    print(f"values: off by {largest:.1e}")
    for parameter in theirs.parameters():
        parameter.data, parameter.grad = parameter.grad, None
    gradients = weights(theirs)
    for name, tensor in gradients.items():
        own = ours.get_parameter(name).grad
        if own is None:
            continue
        difference = ((own - tensor).abs().max() / tensor.abs().max()).item()
        largest = max(largest, difference)
        print(f"{name}: gradient off by {difference:.1e} of its largest entry")
    print("equal" if largest < LIMIT else f"expected differences below {LIMIT}, found {largest:.1e}")
    return 0 if largest < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
