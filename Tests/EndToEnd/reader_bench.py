"""What the tests of milm_reader share: a small corpus and a run, and the program called as a user would."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
READER = REPOSITORY / "Sources/milm/python"
CONFIGURATION = """\
model: { variant: multencdec, embedding: 12, hidden: 16, decoderContext: 3, encoderContext: 4 }
training: { lanes: 6, segment: 8, steps: 48, precision: float32, threads: 1 }
optimizer: { learningRate: 1.0e-2 }
schedule: { kind: constant, warmup: 0 }
coordinator: { reportEvery: 4, evaluateEvery: 8, evaluateStreams: 1, checkpointEvery: 8 }
"""
SMALL_MODEL = "--set model.embedding=16 --set model.hidden=24 --set model.decoderContext=2 --set model.encoderContext=2"


def expect(condition: bool, expected: str, found: object) -> None:
    """Ends the test with one line unless the condition holds."""
    if not condition:
        sys.exit(f"{Path(sys.argv[0]).name}: expected {expected}, found {found}")


class Bench:
    """A directory with `corpus`, `tiny.yaml` and, once it is trained, `run`; `milm` and `milm_reader` are in its PATH."""

    def __init__(self, directory: Path, milm: Path):
        self.directory = directory
        programs = directory / "bin"
        programs.mkdir()
        scripts = {
            # A configuration of the repository is trained for a moment.
            "milm": f"""case "$1 ${{2-}}" in "train configs/"*) set -- "$@" --steps 4 {SMALL_MODEL} ;; esac
exec {shlex.quote(str(milm.resolve()))} "$@"
""",
            "milm_reader": f'exec {shlex.quote(sys.executable)} -m milm_reader "$@"\n',
        }
        for name, text in scripts.items():
            (programs / name).write_text("#!/bin/sh\n" + text)
            (programs / name).chmod(0o755)
        (directory / "configs").symlink_to(REPOSITORY / "configs")
        # An installed milm_reader comes first; without one, the sources are as good.
        paths = [path for path in (os.environ.get("PYTHONPATH"), str(READER)) if path]
        self.environment = os.environ | {
            "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": ":".join(paths), "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(directory / "transformers"), "WANDB_MODE": "offline", "WANDB_DIR": str(directory),
            "WANDB_SILENT": "true", "MLFLOW_TRACKING_URI": f"sqlite:///{directory}/mlflow.db", "PYTHONDONTWRITEBYTECODE": "1",
        }
        (directory / "tiny.yaml").write_text(CONFIGURATION)
        self.call("milm", "prepare", "--generate", "4000", "--output", "corpus")

    def call(self, *command: str, status: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(command, cwd=self.directory, env=self.environment, capture_output=True, text=True)
        expect(done.returncode == status, f"status {status} of {' '.join(command)}", f"{done.returncode}\n{done.stderr}")
        return done

    def json(self, *command: str) -> dict[str, Any]:
        """The object that a command prints."""
        return json.loads(self.call(*command).stdout)

    def train(self, name: str = "run", *options: str) -> None:
        self.call("milm", "train", "tiny.yaml", "--corpus", "corpus", "--output", name, *options)

    def enter(self) -> None:
        """Makes this process see what the commands see."""
        os.chdir(self.directory)
        os.environ.update(self.environment)
        sys.path.append(str(READER))
