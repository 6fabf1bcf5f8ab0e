"""The files that milm writes, but for the tensors."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import pandas

SPLITS = ("train", "valid", "test")


class ReaderError(Exception):
    """What was expected, what was found, and where, in one line."""


def checkpoint(run: str | Path) -> Path:
    """The directory of the checkpoint that a path means: itself, or the run's best one, else its newest."""
    path = Path(run)
    if path.name == "model.safetensors" and path.is_file():
        return path.parent
    if (path / "model.safetensors").is_file():
        return path
    directory = path / "checkpoints"
    steps = sorted(directory.glob("step-*"), key=lambda step: int(step.name[5:])) if directory.is_dir() else []
    for place in (directory / "best", directory / "last", *reversed(steps)):
        if (place / "model.safetensors").is_file():
            return place.resolve()
    raise ReaderError(f"{run}: expected a checkpoint, or a run that has one, found neither")


class Vocabulary(Sequence[str]):
    """The words of a model; the index of a word is its id."""

    def __init__(self, words: Iterable[str], source: str = "the vocabulary"):
        self.words = list(words)
        self._ids = {word: index for index, word in enumerate(self.words)}
        for special in ("<unk>", "<eos>"):
            if special not in self._ids:
                raise ReaderError(f"{source}: expected the words <unk> and <eos>, found no {special}")
        self.unknown = self._ids["<unk>"]
        self.end = self._ids["<eos>"]

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index):
        return self.words[index]

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def id(self, word: str) -> int:
        """The id of a word; `unknown` if it is not in the vocabulary."""
        return self._ids.get(word, self.unknown)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, separated at ASCII white space like milm's, with `<eos>` for each newline."""
        *lines, rest = text.encode().split(b"\n")
        ids = []
        for line in lines:
            ids += [self.id(word.decode()) for word in line.split()]
            ids.append(self.end)
        return ids + [self.id(word.decode()) for word in rest.split()]

    def decode(self, ids: Iterable[int]) -> str:
        """The words of ids with spaces between them, each `<eos>` as a newline."""
        lines = [[]]
        for index in ids:
            if index == self.end:
                lines.append([])
            else:
                lines[-1].append(self.words[index])
        return "\n".join(" ".join(line) for line in lines)


def vocabulary(path: str | Path) -> Vocabulary:
    """The vocabulary of a corpus, of a run, or of a checkpoint in its run; or that in a file with one word per line."""
    place = Path(path)
    if place.name == "model.safetensors":
        place = place.parent
    files = [place] if place.is_file() else [place / "vocabulary.txt"]
    if (place / "model.safetensors").is_file():
        files.append(place.resolve().parent.parent / "vocabulary.txt")
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise ReaderError(f"{path}: expected a corpus or a run with vocabulary.txt, found none")
    # read_text would take a carriage return for the end of a line.
    text = file.read_bytes().decode("utf-8")
    if not text.endswith("\n"):
        raise ReaderError(f"{file}: expected a newline at the end, found none")
    return Vocabulary(text[:-1].split("\n"), str(file))


def tokens(corpus: str | Path, split: str) -> numpy.ndarray:
    """The ids of a split, read-only, mapped from the file: a large corpus takes no memory."""
    import numpy

    path = Path(corpus) / f"{split}.tokens"
    if not path.is_file():
        raise ReaderError(f"{corpus}: expected a split {split}, found no {path.name}")
    with path.open("rb") as file:
        header = file.read(64)
    magic, version, width, count = struct.unpack_from("<8sIIQ", header) if len(header) == 64 else (b"", 0, 0, 0)
    if magic != b"MILMTOK1" or version != 1 or width not in (2, 4):
        raise ReaderError(f"{path}: expected a token file of version 1, found something else")
    if path.stat().st_size != 64 + count * width:
        raise ReaderError(f"{path}: expected {64 + count * width} bytes, found {path.stat().st_size}")
    if count == 0:
        return numpy.empty(0, dtype="<u2")
    return numpy.memmap(path, dtype="<u2" if width == 2 else "<u4", mode="r", offset=64, shape=(count,))


def metrics(run: str | Path, *, frame: bool = False) -> list[dict[str, Any]] | pandas.DataFrame:
    """The lines of a run's metrics, as dicts or as a data frame of pandas; lines of an evaluation have a `split`.

    What is not a number, such as a loss that has diverged, is None. A line that is still being written is left out.
    """
    path = Path(run) / "metrics.jsonl"
    if not path.is_file():
        raise ReaderError(f"{run}: expected a run with metrics.jsonl, found none")
    lines = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            lines.append(json.loads(line))
        except ValueError:
            raise ReaderError(f"{path}:{number}: expected a line of JSON, found {line[:80]!r}") from None
    if not frame:
        return lines
    import pandas

    return pandas.DataFrame(lines)
