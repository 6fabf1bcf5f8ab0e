"""Perplexity of a milm checkpoint in PyTorch, from its files alone. Needs torch and safetensors.

    python3 perplexity.py RUN/checkpoints/best CORPUS [--split test] [--tokens N]

The split is one stream; the first token is predicted from the zero state and `<eos>`. `nll` is the total in nats."""
import argparse, json, math, pathlib, struct

if __name__ == "__main__":  # First: --help does without PyTorch.
    parser = argparse.ArgumentParser(description="Perplexity of a milm checkpoint, computed by PyTorch.")
    for name in ("checkpoint", "corpus"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--tokens", dest="limit", type=int, metavar="N", help="only the first N tokens")
    arguments = parser.parse_args()

import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

def interact(t, part, h, x):
    """M(ReLU(weight · h + bias), x) in the form the file has tensors for; x · V + b without U, x without V."""
    get = lambda name: t.get(f"{part}.{name}")
    if get("V") is None: return x
    y = x @ get("V")
    if get("U") is None: return y + get("b")
    c = torch.relu(h @ get("context.weight").T + get("context.bias"))
    if get("W") is not None: y = y + torch.einsum("bk,bm,kmn->bn", c, x, get("W"))
    if get("A") is not None: y = y + ((c @ get("A")) * (x @ get("B"))) @ get("C").T
    if get("D") is not None: y = y * (1 + c @ get("D"))
    if get("s") is not None: y = y * (1 + c @ get("s")).unsqueeze(-1)
    return y + c @ get("U") + get("b")

def read_tokens(path):
    """The ids of a token file: magic, version, width in bytes, count, checksum, zeros to 64; then the ids."""
    data = bytearray(path.read_bytes())
    magic, _, width, count = struct.unpack_from("<8sIIQ", data)
    assert magic == b"MILMTOK1", f"{path}: expected a token file"
    return torch.frombuffer(data, dtype={2: torch.uint16, 4: torch.int32}[width], offset=64, count=count).long()

@torch.no_grad()
def perplexity(checkpoint, corpus, split, limit=None):
    t = load_file(checkpoint / "model.safetensors")
    targets = read_tokens(corpus / f"{split}.tokens")[:limit]
    eos = (corpus / "vocabulary.txt").read_text(encoding="utf-8").split("\n").index("<eos>")
    inputs = torch.cat([torch.tensor([eos]), targets[:-1]])
    h, c, nll = *torch.zeros(2, 1, t["lstm.weight_hh"].shape[1]), 0.0
    for words, following in zip(inputs.split(128), targets.split(128)):
        hidden = []
        for x in t["embedding.weight"][words].split(1):
            x = interact(t, "encoder", h, x)
            gates = x @ t["lstm.weight_ih"].T + h @ t["lstm.weight_hh"].T + t["lstm.bias"]
            i, f, g, o = gates.chunk(4, dim=-1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            hidden.append(h)
        h_all = torch.cat(hidden)
        logits = interact(t, "decoder", h_all, h_all) @ t["embedding.weight"].T + t["softmax.bias"]
        nll += cross_entropy(logits, following, reduction="none").double().sum().item()
    return {"tokens": len(targets), "nll": nll, "perplexity": math.exp(nll / len(targets))}

if __name__ == "__main__":
    print(json.dumps(perplexity(**vars(arguments))))
