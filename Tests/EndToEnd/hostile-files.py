#!/usr/bin/env python3
"""Changes numbers and texts in the files of a run and of its corpus, and runs the commands that read them.

    Tests/EndToEnd/hostile-files.py [TRIES] [--seed SEED] [--milm PROGRAM]

Every command must end in time with status 0 or 1, and with status 1 say why in one line: no signal, no trap. The
checksum of state.json is made to fit, so that its numbers are used. Prints what it has tried.
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


def change(path: Path, generator: random.Random) -> str:
    """Replaces some numbers of a file, or repeats and drops lines of it; says what."""
    content = path.read_bytes()
    body = content
    places = list(NUMBER.finditer(content))
    made = []
    for _ in range(generator.randint(1, 3)):
        place = generator.choice(places)
        number = generator.choice(NUMBERS)
        if body[place.start() : place.end()] == place.group():
            body = body[: place.start()] + number.encode() + body[place.end() :]
            made.append(number)
            places = list(NUMBER.finditer(body))
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
