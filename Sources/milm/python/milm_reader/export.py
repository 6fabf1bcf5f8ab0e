"""Writes a model as a directory of transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from .files import ReaderError, Vocabulary, checkpoint, vocabulary
from .model import VARIANTS, Shape

MODULE = "modeling_milm"


def export(run: str | Path, directory: Path, corpus: str | Path | None = None) -> list[str]:
    """Writes the model of a run with its tokenizer into a new directory; returns warnings."""
    place = checkpoint(run)
    words = vocabulary(corpus or run)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ReaderError(f"{directory}: expected a new or empty directory, found something in it")
    with safe_open(place / "model.safetensors", framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if metadata["variant"] not in VARIANTS:
        raise ReaderError(f"{place}: expected one of {', '.join(VARIANTS)} for an export, found {metadata['variant']}")
    shape = Shape.of(tensors, metadata["variant"], metadata["form"])
    if shape.vocabulary != len(words):
        raise ReaderError(f"{corpus or run}: expected a vocabulary of {shape.vocabulary} words, found {len(words)}")
    directory.mkdir(parents=True, exist_ok=True)
    files = {
        "config.json": configuration(shape, words),
        "generation_config.json": specials(words) | {"suppress_tokens": [words.unknown]},
        "tokenizer.json": tokenizer(words),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<eos>", "eos_token": "<eos>",
            "pad_token": "<eos>", "unk_token": "<unk>", "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
        },
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in ("model.py", f"{MODULE}.py"):
        shutil.copyfile(Path(__file__).parent / name, directory / name)
    save_file(
        {f"model.{name}": tensor for name, tensor in tensors.items()}, directory / "model.safetensors",
        metadata | {"format": "pt"},
    )
    return warnings(place)


def warnings(place: Path) -> list[str]:
    """What a user of the exported tokenizer should know."""
    state = place / "state.json"
    if not state.is_file() or not json.loads(state.read_text(encoding="utf-8")).get("isTokenized"):
        return []
    return [
        "the corpus was built with milm prepare --tokenize, and the exported tokenizer splits at white space only: "
        "expected text that is tokenized the same way"
    ]


def specials(words: Vocabulary) -> dict:
    # Without a token for padding: `generate` would leave out each <eos> of a prompt that comes without its mask.
    return {"bos_token_id": words.end, "eos_token_id": words.end}


def configuration(shape: Shape, words: Vocabulary) -> dict:
    return {
        "model_type": "milm", "architectures": ["MilmForCausalLM"],
        "auto_map": {"AutoConfig": f"{MODULE}.MilmConfig", "AutoModelForCausalLM": f"{MODULE}.MilmForCausalLM"},
        "variant": shape.variant, "form": shape.form, "vocab_size": shape.vocabulary, "embedding": shape.embedding,
        "hidden_size": shape.hidden, "decoder_context": shape.decoder_context,
        "encoder_context": shape.encoder_context, "rank": shape.rank, "dtype": "float32", "tie_word_embeddings": False,
    } | specials(words)


def tokenizer(words: Vocabulary) -> dict:
    """A word-level tokenizer of the package `tokenizers`: ASCII white space separates, and a newline is `<eos>`.

    A text begins after the end of another, so `<eos>` comes first unless `add_special_tokens` is off.
    """
    added = [
        {"id": words.id(word), "content": word, "single_word": True, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for word in ("<unk>", "<eos>")
    ]
    end = {"id": "<eos>", "ids": [words.end], "tokens": ["<eos>"]}
    start = {"SpecialToken": {"id": "<eos>", "type_id": 0}}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": "\n"}, "content": " <eos> "},
        "pre_tokenizer": {
            "type": "Split", "pattern": {"Regex": "[ \\t\\n\\x0B\\f\\r]+"}, "behavior": "Removed", "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing", "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [start, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<eos>": end},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: index for index, word in enumerate(words)}, "unk_token": "<unk>"},
    }
