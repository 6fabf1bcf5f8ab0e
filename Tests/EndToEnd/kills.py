#!/usr/bin/env python3
"""Kills training runs of 2 ranks with SIGKILL, restarts them, and fails if anything was lost.

    Tests/EndToEnd/kills.py [COUNT]

Kills hit each phase in turn (through milm's --fault) and random moments. After each, every complete checkpoint must
verify, and the restart with --resume auto must end with the parameters and the optimizer state of an uninterrupted run,
bit for bit. Prints a table.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time

from trials import CHECKPOINT_EVERY, RANKS, STEPS, Trials
from trials import concurrently, fail, final_state, parsed, ranks_of, trials, verified_steps

PHASES = ["start", "step", "exchange", "snapshot", "write", "rename", "link", "random"]
# Phases of rank 0's background threads, which act at the step of a checkpoint.
OF_CHECKPOINTS = {"snapshot", "write", "rename", "link"}


def kill_at_random(job: subprocess.Popen, seconds: float) -> None:
    """Kills one rank, or all of them, some time after the start."""
    time.sleep(random.uniform(0.2 * seconds, seconds))
    try:
        victims = ranks_of(job)
        victims = victims if random.random() < 0.3 else [random.choice(victims)]
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError, IndexError):
        pass  # The job has ended already, or has not started its ranks yet.


def fault(phase: str) -> str:
    """The argument of --fault for a kill in a phase, at a random step and rank."""
    rank = 0 if phase in {"write", "rename", "link"} else random.randrange(RANKS)
    if phase == "start":
        return f"die:start:{rank}:0"
    step = random.randrange(1, STEPS // CHECKPOINT_EVERY) * CHECKPOINT_EVERY
    return f"die:{phase}:{rank}:{step if phase in OF_CHECKPOINTS else step + random.randrange(CHECKPOINT_EVERY)}"


def attempt(bench: Trials, name: str, phase: str, length: float, expected: list[str]) -> tuple[float, bool]:
    """One kill and one restart: seconds to the next step, and whether it continued from a checkpoint."""
    run = bench.work / name
    if phase == "random":
        job = bench.start(run)
        kill_at_random(job, length)
    else:
        job = bench.start(run, "--fault", fault(phase))
    job.communicate()
    steps = verified_steps(run) if run.exists() else []
    if phase != "random" and job.returncode == 0:
        fail(f"expected the fault at {phase} to end the run, found status 0")
    seconds, from_checkpoint, log = bench.finish(run)
    if "a checkpoint was refused" in log:
        fail(f"expected no refused checkpoint after a kill at {phase}, found\n{log}")
    if steps and not from_checkpoint:
        fail(f"expected {run} to continue from one of the checkpoints {steps}, found a new run")
    if final_state(run) != expected:
        fail(f"expected the parameters of an uninterrupted run after a kill at {phase}, found different ones")
    origin = "continued from a checkpoint" if from_checkpoint else "started from step 0"
    print(f"{name}: killed at {phase}, checkpoint {steps[-1:] or 'none'}, {origin}", file=sys.stderr)
    shutil.rmtree(run)
    return seconds, from_checkpoint


def main() -> None:
    arguments = parsed(__doc__, "number of kills", 20)
    random.seed(os.environ.get("MILM_KILLS_SEED"))
    with trials(arguments.milm) as bench:
        expected, length = bench.uninterrupted()
        phases = [PHASES[number % len(PHASES)] for number in range(arguments.count)]
        results = concurrently(
            arguments.at_once,
            attempt,
            [(bench, f"run-{number}", phase, length, expected) for number, phase in enumerate(phases)],
        )
    print(f"{'phase':<10}{'kills':>6}{'from a checkpoint':>19}{'seconds to the next step, median, maximum':>43}{'lost':>9}")
    for phase in dict.fromkeys(phases):
        tries = [result for result, of_phase in zip(results, phases) if of_phase == phase]
        times = [seconds for seconds, _ in tries]
        spread = f"{statistics.median(times):.2f}, {max(times):.2f}"
        print(f"{phase:<10}{len(tries):>6}{sum(resumed for _, resumed in tries):>19}{spread:>43}{'nothing':>9}")
    print(f"{arguments.count} kills: all checkpoints verified, all final parameters equal to the uninterrupted run's")


if __name__ == "__main__":
    main()
