#!/usr/bin/env python3
"""Changes numbers and texts in the files of a run and of its corpus, and runs the commands that read them.

    Tests/EndToEnd/hostile-files.py [TRIES] [--seed SEED] [--milm PROGRAM]

Every command must end in time with status 0 or 1, and with status 1 say why in one line: no signal, no trap. Checksums
of state.json, and in it those of tensors, are made to fit, so that the numbers are used. Prints what it has tried.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGURATION = """\
model: { variant: multencdec, embedding: 12, hidden: 16, decoderContext: 3, encoderContext: 4 }
training: { lanes: 6, segment: 8, steps: 12, precision: float32, threads: 1 }
schedule: { warmup: 2 }
guard: { window: 3 }
coordinator: { reportEvery: 1, evaluateEvery: 4, evaluateStreams: 1, checkpointEvery: 4 }
"""
NUMBERS = [
    "9223372036854775807", "-9223372036854775808", "9223372036854775808", "4611686018427387904", "-1", "0", "1",
    "1e308", "-1e308", "5e-324", "1e400", "null", '"NaN"', '"Infinity"', "[]", "{}", '""', "[[[[[[[[[[1]]]]]]]]]]",
]
NUMBER = re.compile(rb"-?\b[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?\b(?!\")")
SECONDS = 60


def sealed(content: bytes) -> bytes:
    """state.json with the checksum that fits its other members."""
    members = content[: content.rindex(b',\n  "checksum"')]
    checksum = hashlib.sha256(members + b"\n}\n").hexdigest().encode()
    return members + b',\n  "checksum" : "' + checksum + b'"\n}\n'


def change_header(path: Path, generator: random.Random) -> str:
    """Replaces a number in the header of a safetensors file, or its length, and seals state.json again; says what."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, tensors = content[8 : 8 + length], content[8 + length :]
    if generator.random() < 0.1:
        made, size = "length", generator.choice([0, 1, length - 1, length + 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1])
    else:
        # Shapes and offsets come after the texts of __metadata__.
        place = generator.choice(list(NUMBER.finditer(header))[-30:])
        made = generator.choice(NUMBERS)
        header = header[: place.start()] + made.encode() + header[place.end() :]
        size = len(header)
    body = size.to_bytes(8, "little") + header + tensors
    path.write_bytes(body)
    state = path.parent / "state.json"
    text = state.read_bytes()
    for old, new in [
        (hashlib.sha256(content).hexdigest(), hashlib.sha256(body).hexdigest()),
        (f'"byteCount" : {len(content)},', f'"byteCount" : {len(body)},'),
    ]:
        text = text.replace(old.encode(), new.encode())
    state.write_bytes(sealed(text))
    return f"{path.name}: {made}"


def change_name(directory: Path, generator: random.Random) -> str:
    """Renames the file of events to one with another number; says what."""
    path = next(directory.glob("events.out.tfevents.*"))
    parts = path.name.split(".")
    parts[3] = generator.choice(NUMBERS)
    path.rename(directory / ".".join(parts))
    return f"events: {parts[3]}"


def change(path: Path, generator: random.Random) -> str:
    """Replaces some numbers of a file, or repeats and drops lines of it; says what."""
    if path.suffix == ".safetensors":
        return change_header(path, generator)
    if path.is_dir():
        return change_name(path, generator)
    content = path.read_bytes()
    body = content
    places = list(NUMBER.finditer(content))
    if not places:
        path.write_bytes(generator.choice(NUMBERS).encode() + b"\n")
        return path.name
    made = []
    for _ in range(generator.randint(1, 3)):
        place = generator.choice(places)
        number = generator.choice(NUMBERS)
        if body[place.start() : place.end()] == place.group():
            body = body[: place.start()] + number.encode() + body[place.end() :]
            made.append(number)
            places = list(NUMBER.finditer(body)) or places
    if path.suffix == ".jsonl" and generator.random() < 0.3:
        lines = body.splitlines(keepends=True)
        generator.shuffle(lines)
        body = b"".join(lines[: generator.randint(0, len(lines))] * generator.randint(1, 300))
        made.append("lines")
    path.write_bytes(sealed(body) if path.name == "state.json" else body)
    return f"{path.name}: {', '.join(made)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tries", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--milm", default=str(REPOSITORY / ".build" / "release" / "milm"))
    options = parser.parse_args()
    generator = random.Random(options.seed)
    outcomes: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "tiny.yaml").write_text(CONFIGURATION)

        def milm(*arguments: str) -> subprocess.CompletedProcess:
            return subprocess.run(
                [options.milm, *arguments], cwd=directory, capture_output=True, text=True, timeout=SECONDS,
                errors="replace",
            )

        train = ["train", "tiny.yaml", "--corpus", "corpus", "--output", "run"]
        for arguments in (["prepare", "--generate", "4000", "--output", "corpus"], train):
            made = milm(*arguments)
            if made.returncode != 0:
                sys.exit(f"hostile-files: {made.stderr}")
        for name in ("run", "corpus"):
            (directory / name).rename(directory / f"good-{name}")
        for index in range(options.tries):
            for name in ("run", "corpus"):
                shutil.rmtree(directory / name, ignore_errors=True)
                shutil.copytree(directory / f"good-{name}", directory / name, symlinks=True)
            newest = (directory / "run" / "checkpoints" / "last").resolve()
            files = [newest / "state.json", directory / "run" / "metrics.jsonl", directory / "run" / "sessions.jsonl"]
            files += [newest / f"{part}.safetensors" for part in ("model", "optimizer", "carry")]
            files += [directory / "run" / name for name in ("config.yaml", "newest-checkpoint", "tensorboard")]
            files += [directory / name / "vocabulary.txt" for name in ("run", "corpus")]
            files.append(directory / "corpus" / "corpus.json")
            what = change(files[index % len(files)], generator)
            commands = [["report", "run"], ["inspect", "run"], ["inspect", "corpus", "--json"]]
            commands += [["evaluate", "run", "--corpus", "corpus"], ["generate", "run", "--tokens", "3"]]
            commands.append([*train, "--resume", "auto", "--set", "training.steps=14"])
            for arguments in commands:
                run = milm(*arguments)
                outcomes[f"{arguments[0]} {run.returncode}"] += 1
                if run.returncode not in (0, 1) or (run.returncode == 1 and not run.stderr.strip()):
                    sys.exit(f"hostile-files: seed {options.seed}, try {index}, {what}: {arguments}: status "
                             f"{run.returncode}\n{run.stderr[-2000:]}")
    for outcome, count in sorted(outcomes.items()):
        print(f"{outcome}: {count}")


if __name__ == "__main__":
    main()
