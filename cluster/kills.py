"""Kills milm runs, restarts them and prints what became of them: cluster/kills.sh calls it."""

import concurrent.futures
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

MILM, WORK, COUNT = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
STEPS, CHECKPOINT_EVERY, RANKS = 120, 4, 2
AT_ONCE = 3
PHASES = ["start", "step", "exchange", "snapshot", "write", "rename", "link", "random"]
# Phases of rank 0's background threads, which strike at the step of a checkpoint.
OF_CHECKPOINTS = {"snapshot", "write", "rename", "link"}


def begin(run, *extra):
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "--timeout", "60", "--mca", "mpi_yield_when_idle", "1"]
    command += ["-n", str(RANKS), MILM, "train", str(WORK / "tiny.yaml"), "--corpus", str(WORK / "corpus")]
    command += ["--output", str(run), "--resume", "auto", *extra]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ranks_of(job):
    with open(f"/proc/{job.pid}/task/{job.pid}/children") as children:
        return [int(word) for word in children.read().split()]


def kill_at_random(job, seconds):
    """Kills one rank, or mpirun and all of them, some time after the start."""
    time.sleep(random.uniform(0.2 * seconds, seconds))
    try:
        victims = ranks_of(job)
        victims = victims if random.random() < 0.3 else [random.choice(victims)]
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError, IndexError):
        pass  # It has ended already, or has not started its ranks yet.


def fault(phase):
    rank = 0 if phase in {"write", "rename", "link"} else random.randrange(RANKS)
    if phase == "start":
        return f"die:start:{rank}:0"
    step = random.randrange(1, STEPS // CHECKPOINT_EVERY) * CHECKPOINT_EVERY
    return f"die:{phase}:{rank}:{step if phase in OF_CHECKPOINTS else step + random.randrange(CHECKPOINT_EVERY)}"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def verify(run):
    """The steps of a run's checkpoints; fails unless all files are those that state.json tells of."""
    steps = []
    for checkpoint in sorted((run / "checkpoints").glob("step-*")):
        text = (checkpoint / "state.json").read_bytes()
        parts = re.fullmatch(rb'(.*),\n  "checksum" : "([0-9a-f]{64})"\n}\n', text, re.DOTALL)
        if not parts or hashlib.sha256(parts[1] + b"\n}\n").hexdigest() != parts[2].decode():
            sys.exit(f"kills: {checkpoint}/state.json is damaged")
        for name, sha256 in re.findall(r'"([a-z]+\.safetensors)" : \{[^}]*"sha256" : "([0-9a-f]{64})"', text.decode()):
            if digest(checkpoint / name) != sha256:
                sys.exit(f"kills: {checkpoint}/{name} is not the file that state.json tells of")
        steps.append(int(checkpoint.name.removeprefix("step-")))
    return steps


def final(run):
    last = run / "checkpoints" / "last"
    return [digest(last / f"{part}.safetensors") for part in ("model", "optimizer", "carry")]


def restart(run):
    """Trains to the end; returns the seconds to the first report, and what it began from."""
    began, first, origin, lines = time.monotonic(), None, "anew", []
    job = begin(run)
    for line in job.stderr:
        lines.append(line)
        if "continuing" in line:
            origin = "checkpoint"
        if "a checkpoint was refused" in line:
            sys.exit(f"kills: {line}")
        if first is None and re.match(r"step=|.*the run is finished", line):
            first = time.monotonic() - began
    if job.wait() != 0:
        sys.exit(f"kills: expected the restart of {run} to succeed, found status {job.returncode}\n{''.join(lines)}")
    return first or time.monotonic() - began, origin


def attempt(number, length, expected):
    """One kill and one restart; returns the seconds to the next step, and what the restart began from."""
    phase = PHASES[number % len(PHASES)]
    run = WORK / f"run-{number}"
    job = begin(run) if phase == "random" else begin(run, "--fault", fault(phase))
    if phase == "random":
        kill_at_random(job, length)
    job.communicate()
    steps = verify(run) if run.exists() else []
    if phase != "random" and job.returncode == 0:
        sys.exit(f"kills: expected the fault at {phase} to end the run, found that it went on")
    seconds, origin = restart(run)
    if steps and origin == "anew":
        sys.exit(f"kills: {run} had checkpoints of steps {steps} and began anew")
    if final(run) != expected:
        sys.exit(f"kills: after a kill at {phase} the last parameters are others than the uninterrupted run's")
    hidden = [entry.name for entry in (run / "checkpoints").iterdir() if entry.name.startswith(".")]
    if hidden:
        sys.exit(f"kills: left behind {hidden}")
    print(f"kill {number + 1} of {COUNT}: {phase}, had {steps[-1:] or 'no checkpoint'}, then {origin}", file=sys.stderr)
    shutil.rmtree(run)
    return seconds, origin


def main():
    random.seed(os.environ.get("MILM_KILLS_SEED"))
    whole = WORK / "whole"
    began = time.monotonic()
    restart(whole)
    length = time.monotonic() - began
    expected = final(whole)
    rows = {phase: [] for phase in PHASES}
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        tries = [pool.submit(attempt, number, length, expected) for number in range(COUNT)]
        for number, result in enumerate(tries):
            rows[PHASES[number % len(PHASES)]].append(result.result())
    print(f"{'phase':<10}{'kills':>6}{'from a checkpoint':>19}{'anew':>6}{'seconds to the next step, median, longest':>43}{'lost':>9}")
    for phase, tries in rows.items():
        if not tries:
            continue
        times = [row[0] for row in tries]
        continued = sum(row[1] == "checkpoint" for row in tries)
        spread = f"{statistics.median(times):.2f}, {max(times):.2f}"
        print(f"{phase:<10}{len(tries):>6}{continued:>19}{len(tries) - continued:>6}{spread:>43}{'nothing':>9}")
    print(f"{COUNT} kills: all checkpoints verified, all last parameters equal the uninterrupted run's bit for bit")


main()
