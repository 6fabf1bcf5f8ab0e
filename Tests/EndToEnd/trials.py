"""What kills.py and faults.py have in common: runs of a tiny model, and what must be true of them afterwards."""

import concurrent.futures
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import time

MILM, WORK, COUNT = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
STEPS, CHECKPOINT_EVERY, RANKS = 60, 4, 2
AT_ONCE = int(os.environ.get("MILM_KILLS_AT_ONCE", "3"))
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none", "--timeout", "300", "--mca", "mpi_yield_when_idle", "1", "-n", str(RANKS)]


def fail(message):
    sys.exit(f"{pathlib.Path(sys.argv[0]).stem}: {message}")


def training(run, *extra):
    """milm's own part of the command line."""
    return ["train", str(WORK / "tiny.yaml"), "--corpus", str(WORK / "corpus"), "--output", str(run), "--resume", "auto", *extra]


def begin(run, *extra, command=None):
    command = command or [*MPIRUN, MILM]
    return subprocess.Popen([*command, *training(run, *extra)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ranks_of(job):
    with open(f"/proc/{job.pid}/task/{job.pid}/children") as children:
        return [int(word) for word in children.read().split()]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def verify(run):
    """The steps of a run's checkpoints; fails unless all files are those that state.json tells of."""
    steps = []
    for checkpoint in sorted((run / "checkpoints").glob("step-*")):
        text = (checkpoint / "state.json").read_bytes()
        parts = re.fullmatch(rb'(.*),\n  "checksum" : "([0-9a-f]{64})"\n}\n', text, re.DOTALL)
        if not parts or hashlib.sha256(parts[1] + b"\n}\n").hexdigest() != parts[2].decode():
            fail(f"{checkpoint}/state.json is damaged")
        for name, sha256 in re.findall(r'"([a-z]+\.safetensors)" : \{[^}]*"sha256" : "([0-9a-f]{64})"', text.decode()):
            if digest(checkpoint / name) != sha256:
                fail(f"{checkpoint}/{name} is not the file that state.json tells of")
        steps.append(int(checkpoint.name.removeprefix("step-")))
    return steps


def final(run):
    last = run / "checkpoints" / "last"
    return [digest(last / f"{part}.safetensors") for part in ("model", "optimizer", "carry")]


def finish(run):
    """Trains to the end; returns the seconds to the first report, what it began from, and what it said."""
    began, first, origin, lines = time.monotonic(), None, "anew", []
    job = begin(run)
    for line in job.stderr:
        lines.append(line)
        if "continuing" in line:
            origin = "checkpoint"
        if first is None and re.match(r"step=|.*the run is finished", line):
            first = time.monotonic() - began
    said = "".join(lines)
    if job.wait() != 0:
        fail(f"expected the restart of {run} to succeed, found status {job.returncode}\n{said}")
    hidden = [entry.name for entry in (run / "checkpoints").iterdir() if entry.name.startswith(".")]
    if hidden:
        fail(f"left behind {hidden}")
    return first or time.monotonic() - began, origin, said


def uninterrupted():
    """The parameters, moments and carried state that every run must end with, and the seconds that takes."""
    began = time.monotonic()
    finish(WORK / "whole")
    return final(WORK / "whole"), time.monotonic() - began


def some_at_once(work, arguments):
    """The results of `work`, in order."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return [result.result() for result in [pool.submit(work, *some) for some in arguments]]
