"""Kills milm runs, restarts them and prints what became of them: cluster/kills.sh calls it."""

import os
import random
import shutil
import signal
import statistics
import sys
import time

from trials import CHECKPOINT_EVERY, COUNT, RANKS, STEPS, WORK, begin, fail, final, finish, ranks_of, some_at_once, uninterrupted, verify

PHASES = ["start", "step", "exchange", "snapshot", "write", "rename", "link", "random"]
# Phases of rank 0's background threads, which strike at the step of a checkpoint.
OF_CHECKPOINTS = {"snapshot", "write", "rename", "link"}


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
        fail(f"expected the fault at {phase} to end the run, found that it went on")
    seconds, origin, said = finish(run)
    if "a checkpoint was refused" in said:
        fail(f"after a kill at {phase} a checkpoint was refused:\n{said}")
    if steps and origin == "anew":
        fail(f"{run} had checkpoints of steps {steps} and began anew")
    if final(run) != expected:
        fail(f"after a kill at {phase} the last parameters are others than the uninterrupted run's")
    print(f"kill {number + 1} of {COUNT}: {phase}, had {steps[-1:] or 'no checkpoint'}, then {origin}", file=sys.stderr)
    shutil.rmtree(run)
    return seconds, origin


def main():
    random.seed(os.environ.get("MILM_KILLS_SEED"))
    expected, length = uninterrupted()
    results = some_at_once(attempt, [(number, length, expected) for number in range(COUNT)])
    print(f"{'phase':<10}{'kills':>6}{'from a checkpoint':>19}{'anew':>6}{'seconds to the next step, median, longest':>43}{'lost':>9}")
    for place, phase in enumerate(PHASES):
        tries = results[place :: len(PHASES)]
        if not tries:
            continue
        times = [seconds for seconds, _ in tries]
        continued = sum(origin == "checkpoint" for _, origin in tries)
        spread = f"{statistics.median(times):.2f}, {max(times):.2f}"
        print(f"{phase:<10}{len(tries):>6}{continued:>19}{len(tries) - continued:>6}{spread:>43}{'nothing':>9}")
    print(f"{COUNT} kills: all checkpoints verified, all last parameters equal the uninterrupted run's bit for bit")


main()
