"""What kills.py and faults.py share: runs of a tiny model, and what must be true of them afterwards."""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS, CHECKPOINT_EVERY, RANKS = 60, 4, 2
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none", "--timeout", "300", "--mca", "mpi_yield_when_idle", "1"]
CONFIGURATION = f"""\
# Trains in a moment, and writes and evaluates all the time.
model: {{ variant: multencdec, embedding: 12, hidden: 16, decoderContext: 3, encoderContext: 4 }}
training: {{ lanes: 6, segment: 8, steps: {STEPS}, precision: float32, threads: 1 }}
schedule: {{ warmup: 2 }}
exchange: {{ codec: int8, vocabulary: replicated, ranksPerNode: 1, hashEvery: 10, stallWarnSeconds: 20, stallAbortSeconds: 60 }}
coordinator: {{ reportEvery: 1, evaluateEvery: 8, evaluateStreams: 1, checkpointEvery: {CHECKPOINT_EVERY} }}
"""


def fail(message: str) -> None:
    sys.exit(f"{Path(sys.argv[0]).stem}: {message}")


def parsed(description: str, meaning: str, default: int) -> argparse.Namespace:
    """The command line of both programs."""

    def positive(text: str) -> int:
        if not text.isdigit() or int(text) == 0:
            raise argparse.ArgumentTypeError(f"expected a number from 1, found {text}")
        return int(text)

    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=positive, nargs="?", default=default, help=f"{meaning} (default {default})")
    parser.add_argument("--at-once", type=positive, default=3, metavar="N", help="concurrent runs (default 3)")
    parser.add_argument(
        "--milm",
        type=Path,
        default=Path(os.environ.get("MILM", REPOSITORY / ".build/release/milm")),
        help="the program (default $MILM, or .build/release/milm)",
    )
    return parser.parse_args()


class Trials:
    """A directory with a corpus and a configuration, and the runs in it."""

    def __init__(self, milm: Path, work: Path):
        self.milm, self.work = str(milm.resolve()), work
        (work / "tiny.yaml").write_text(CONFIGURATION)
        command = [self.milm, "prepare", "--generate", "3000", "--output", str(work / "corpus")]
        prepared = subprocess.run(command, capture_output=True, text=True)
        if prepared.returncode != 0:
            fail(f"expected milm prepare to succeed, found status {prepared.returncode}\n{prepared.stderr}")

    def start(self, run: Path, *extra: str, command: list[str] | None = None) -> subprocess.Popen:
        """Starts a training of 2 ranks, or continues it."""
        command = command or [*MPIRUN, "-n", str(RANKS), self.milm]
        training = ["train", str(self.work / "tiny.yaml"), "--corpus", str(self.work / "corpus"), "--output", str(run)]
        environment = os.environ | {"MILM": self.milm}
        if os.geteuid() == 0:
            environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return subprocess.Popen(
            [*command, *training, "--resume", "auto", *extra],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def finish(self, run: Path) -> tuple[float, bool, str]:
        """Trains to the end: seconds to the first report, whether from a checkpoint, and standard error."""
        started, first, from_checkpoint, lines = time.monotonic(), None, False, []
        job = self.start(run)
        for line in job.stderr:
            lines.append(line)
            from_checkpoint = from_checkpoint or "continuing" in line
            if first is None and re.match(r"step=|.*the run is finished", line):
                first = time.monotonic() - started
        log = "".join(lines)
        if job.wait() != 0:
            fail(f"expected the restart of {run} to succeed, found status {job.returncode}\n{log}")
        hidden = [entry.name for entry in (run / "checkpoints").iterdir() if entry.name.startswith(".")]
        if hidden:
            fail(f"expected no temporary files in {run}, found {hidden}")
        return first or time.monotonic() - started, from_checkpoint, log

    def uninterrupted(self) -> tuple[list[str], float]:
        """The final state that every run must reach, and the seconds that this takes."""
        started = time.monotonic()
        self.finish(self.work / "whole")
        return final_state(self.work / "whole"), time.monotonic() - started


@contextmanager
def trials(milm: Path) -> Iterator[Trials]:
    """Trials in a temporary directory."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            yield Trials(milm, Path(directory))
        finally:
            for mounted in Path(directory).glob("run-*/checkpoints"):
                if os.path.ismount(mounted):
                    subprocess.run(["umount", str(mounted)], stderr=subprocess.DEVNULL)


def ranks_of(job: subprocess.Popen) -> list[int]:
    """The process ids of a job's ranks."""
    return [int(word) for word in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def final_state(run: Path) -> list[str]:
    """Digests of the parameters, the optimizer's state and the carried state at the end."""
    last = run / "checkpoints" / "last"
    return [digest(last / f"{part}.safetensors") for part in ("model", "optimizer", "carry")]


def verified_steps(run: Path) -> list[int]:
    """The steps of a run's checkpoints; fails unless every file has the digest that state.json states."""
    steps = []
    for checkpoint in sorted((run / "checkpoints").glob("step-*")):
        text = (checkpoint / "state.json").read_bytes()
        parts = re.fullmatch(rb'(.*),\n  "checksum" : "([0-9a-f]{64})"\n}\n', text, re.DOTALL)
        if not parts or hashlib.sha256(parts[1] + b"\n}\n").hexdigest() != parts[2].decode():
            fail(f"{checkpoint}/state.json is corrupted")
        for name, sha256 in re.findall(r'"([a-z]+\.safetensors)" : \{[^}]*"sha256" : "([0-9a-f]{64})"', text.decode()):
            if digest(checkpoint / name) != sha256:
                fail(f"{checkpoint}/{name} differs from the file that state.json describes")
        steps.append(int(checkpoint.name.removeprefix("step-")))
    return steps


def concurrently(count: int, work: Callable, arguments: list[tuple]) -> list:
    """The results of `work` in order, with so many calls at once."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [result.result() for result in [pool.submit(work, *some) for some in arguments]]
