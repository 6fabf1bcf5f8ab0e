#!/usr/bin/env python3
"""Tests milm_reader against milm, PyTorch and transformers, and runs the examples of the documentation's page on Python.

    Tests/EndToEnd/reader.py [--milm MILM]      # MILM is .build/release/milm by default

Needs torch, transformers and pandas. A run is read and exported, and its perplexity must be the same in milm, in PyTorch, and
in transformers from the text; so must what it generates. Weights of each variant and form, and of torch.nn.LSTM, are imported
and scored by milm.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import tempfile
from pathlib import Path

from reader_bench import REPOSITORY, Bench, expect

PAGE = REPOSITORY / "Sources/milm/milm.docc/Python.md"
TOLERANCE = 1e-4


def is_close(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE * other


def check_reading(bench: Bench) -> None:
    """Weights, words, tokens and metrics of the run."""
    import milm_reader

    version = bench.call("milm", "--version").stdout.strip()
    expect(milm_reader.__version__ == version, f"version {version}", milm_reader.__version__)
    milm = bench.json("milm", "evaluate", "run", "--corpus", "corpus", "--json")
    for place in ("run", "run/checkpoints/best", "run/checkpoints/best/model.safetensors"):
        found = milm_reader.perplexity(place, "corpus")
        expect(found["tokens"] == milm["tokens"], f"{milm['tokens']} tokens", found["tokens"])
        expect(is_close(found["perplexity"], milm["perplexity"]), f"perplexity {milm['perplexity']}", found["perplexity"])
    found = bench.json("milm_reader", "perplexity", "run", "corpus", "--tokens", "100")
    expect(found["tokens"] == 100, "100 tokens", found)
    words, ids = milm_reader.vocabulary("corpus"), milm_reader.tokens("corpus", "test")
    expect(words.encode(words.decode(ids)) == ids.tolist(), "the same ids after decode and encode", "others")
    for place in ("run", "corpus/vocabulary.txt", "run/checkpoints/best", "run/checkpoints/last/model.safetensors"):
        expect(list(milm_reader.vocabulary(place)) == list(words), f"the run's words in {place}", "others")
    lines, frame = milm_reader.metrics("run"), milm_reader.metrics("run", frame=True)
    losses = [line["loss"] for line in lines if "split" not in line]
    expect(len(losses) == 12 and losses == frame.loss.dropna().tolist(), "12 losses", losses)
    expect(len(frame[frame.split == "valid"]) == 6, "6 evaluations", len(frame[frame.split == "valid"]))
    done = bench.call("milm_reader", "perplexity", "corpus", "corpus", status=1)
    expect("expected a checkpoint, or a run that has one" in done.stderr, "what is missing", done.stderr)
    print(f"read: perplexity {found['perplexity']:.4f} of 100 tokens, {len(lines)} lines of metrics")


def check_transformers(bench: Bench) -> None:
    """The exported directory in transformers: tokenizer, perplexity, and texts that are generated one by one and together."""
    import milm_reader
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    bench.call("milm_reader", "export-hf", "run", "hf")
    done = bench.call("milm_reader", "export-hf", "run", "hf", status=1)
    expect("expected a new or empty directory" in done.stderr, "a refusal", done.stderr)
    tokenizer = AutoTokenizer.from_pretrained("hf", trust_remote_code=True)
    model = AutoModelForCausalLM.from_pretrained("hf", trust_remote_code=True)
    words, ids = milm_reader.vocabulary("corpus"), milm_reader.tokens("corpus", "test").tolist()
    read = tokenizer(words.decode(ids), return_tensors="pt").input_ids
    expect(read[0].tolist() == [words.end, *ids], "the corpus's ids from its text", "others")
    odd = "never\u00a0heard\n\n" + words[5] + "\t" + words[6] + "\r\n"
    expect(tokenizer(odd).input_ids == [words.end, *words.encode(odd)], "only ASCII white space to separate", odd)
    with torch.no_grad():
        found = math.exp(model(read, labels=read).loss)
    expected = bench.json("milm", "evaluate", "run", "--corpus", "corpus", "--json")["perplexity"]
    expect(is_close(found, expected), f"perplexity {expected} in transformers", found)

    prompts = [words[3], " ".join(words[7:11])]
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    alone = [model.generate(**tokenizer(prompt, return_tensors="pt"), **options)[0, -12:] for prompt in prompts]
    for prompt, text in zip(prompts, alone):
        drawn = bench.call("milm", "generate", "run", "--prompt", prompt, "--temperature", "0", "--tokens", "12").stdout
        expect(words.encode(drawn[:-1])[-12:] == text.tolist(), f"milm's text {drawn!r}", tokenizer.decode(text))
    tokenizer.padding_side = "left"
    together = model.generate(**tokenizer(prompts, return_tensors="pt", padding=True), **options)
    expect(torch.equal(together[:, -12:], torch.stack(alone)), "the same texts from a batch", together)
    # A beam search keeps the likeliest of some texts, each scored here from its beginning.
    prompt = tokenizer(prompts[1], return_tensors="pt").input_ids
    beam = model.generate(prompt, num_beams=3, **options, output_scores=True, return_dict_in_generate=True)
    with torch.no_grad():
        logits = model(beam.sequences).logits[0, prompt.shape[1] - 1 : -1]
    scores = logits.log_softmax(-1).gather(1, beam.sequences[0, prompt.shape[1] :, None]).mean()
    expect(abs(scores - beam.sequences_scores[0]) < 1e-3, f"a beam's score {scores}", beam.sequences_scores)
    print(f"transformers: perplexity {found:.4f}, milm {expected:.4f}; texts of milm, alone, in a batch and by beams")


def random_text(bench: Bench):
    """The words and the test split, as a tensor."""
    import milm_reader
    import torch

    return milm_reader.vocabulary("corpus"), torch.from_numpy(milm_reader.tokens("corpus", "test").astype("int64"))


def check_imported(bench: Bench, name: str, nll: float, *options: str) -> None:
    """Imports a file and compares milm's score of it."""
    bench.call("milm", "import", f"{name}.safetensors", "--vocabulary", "corpus", "--output", name, *options)
    found = bench.json("milm", "evaluate", name, "--corpus", "corpus", "--json")["nll"]
    expect(is_close(found, nll), f"{nll} nats of {name} as in PyTorch", found)
    print(f"imported {name}: {found:.4f} nats, PyTorch {nll:.4f}")


def check_import(bench: Bench) -> None:
    """Weights of every variant and form, with the names of the fixtures."""
    import torch
    from milm_reader.model import FORMS, LanguageModel, Shape
    from milm_reader.scoring import score
    from safetensors.torch import save_file

    words, text = random_text(bench)
    torch.manual_seed(1)
    for variant, form in [("lstm", "full")] + [(v, f) for v in ("multdec", "multencdec") for f in FORMS]:
        model = LanguageModel(Shape(variant, form, len(words), 6, 8, 3, 4, 3))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        save_file({f"parameter.{name}": value for name, value in model.state_dict().items()}, f"{variant}-{form}.safetensors")
        check_imported(bench, f"{variant}-{form}", score(model, text, words.end))


def check_training_on(bench: Bench) -> None:
    """The run's weights through PyTorch and back, as the start of another run: it begins with them."""
    import milm_reader
    import torch
    from safetensors.torch import save_file

    before = milm_reader.load("run").state_dict()
    save_file(before, "state.safetensors")
    bench.call("milm", "import", "state.safetensors", "--vocabulary", "corpus", "--output", "start")
    for name in ("run/checkpoints/best", "start"):
        # A step at this learning rate changes nothing but what is zero.
        bench.train("started", "--init", name, "--steps", "1", "--set", "optimizer.learningRate=1e-30")
        after = milm_reader.load("started").state_dict()
        same = all(torch.allclose(after[key], before[key], rtol=0, atol=1e-20) for key in before)
        expect(same, f"the weights of {name}", "others")
        shutil.rmtree("started")
    print("imported weights are where training starts")


def check_import_of_lstm(bench: Bench) -> None:
    """A language model of torch.nn.LSTM with its own names."""
    import torch
    from safetensors.torch import save_file
    from torch import nn

    words, text = random_text(bench)
    torch.manual_seed(2)
    parts = nn.ModuleDict({"encoder": nn.Embedding(len(words), 6), "rnn": nn.LSTM(6, 8), "projection": nn.Linear(8, 6)})
    bias = torch.randn(len(words))
    save_file(parts.state_dict() | {"decoder.bias": bias}, "plain.safetensors")
    with torch.no_grad():
        inputs = torch.cat([torch.tensor([words.end]), text[:-1]])
        z = parts["projection"](parts["rnn"](parts["encoder"](inputs).unsqueeze(1))[0].squeeze(1))
        nll = nn.functional.cross_entropy(z @ parts["encoder"].weight.T + bias, text, reduction="sum").item()
    names = {
        "embedding.weight": "encoder.weight", "softmax.bias": "decoder.bias", "lstm.weight_ih": "rnn.weight_ih_l0",
        "lstm.weight_hh": "rnn.weight_hh_l0", "lstm.bias": "rnn.bias_ih_l0+rnn.bias_hh_l0",
        "decoder.V": "projection.weight.T", "decoder.b": "projection.bias",
    }
    check_imported(bench, "plain", nll, *(word for name, source in names.items() for word in ("--map", f"{name}={source}")))


def check_examples(bench: Bench) -> None:
    """The blocks of the page on Python, one after the other; its Python is one program."""
    namespace: dict = {}
    count = 0
    for language, block in re.findall(r"^```(python|sh)\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S):
        # What CI does before, and what trackers.py does.
        if "pip install" in block or "followed" in block:
            continue
        count += 1
        if language == "python":
            exec(compile(block, f"{PAGE.name}, example {count}", "exec"), namespace)
        else:
            bench.call("bash", "-eu", "-c", block)
    expect(count == 9, "9 examples", count)
    print(f"{count} examples of {PAGE.name} ran")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--milm", type=Path, default=REPOSITORY / ".build/release/milm")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), arguments.milm)
        bench.train()
        bench.enter()
        checks = (check_reading, check_transformers, check_import, check_import_of_lstm, check_training_on, check_examples)
        for check in checks:
            check(bench)


if __name__ == "__main__":
    main()
