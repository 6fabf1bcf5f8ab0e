#!/usr/bin/env python3
"""Injects every fault other than a kill into training runs of 2 ranks, restarts them, and fails if anything was lost.

    Tests/EndToEnd/faults.py [TRIES]

Signals, hangs, corrupted frames, full and read-only disks (these need root), corrupted checkpoints: each run must end
with the right status and message, and its restart with the parameters of an uninterrupted run, bit for bit. Prints a
table.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trials import RANKS, REPOSITORY, Trials, concurrently, fail, final_state, parsed, ranks_of, trials

LAUNCHER = [str(REPOSITORY / "cluster" / "launch.sh"), "-n", str(RANKS), "--threads", "1", "--"]
IMPATIENT = ["--set", "exchange.stallWarnSeconds=1", "--set", "exchange.stallAbortSeconds=3"]


@dataclass(frozen=True)
class Case:
    """A fault, and the status and message that the job or its restart must give."""

    name: str
    status: int
    message: str
    # Arguments of milm that cause the fault.
    extra: Sequence[str] = ()
    # What starts the job, in place of mpirun.
    command: list[str] | None = None
    # Called before the job, beside it and after it.
    before: Callable[[Path], None] | None = None
    act: Callable[[subprocess.Popen, Path], None] | None = None
    after: Callable[[Path], None] | None = None


def fault(text: str, *more: str) -> list[str]:
    return ["--fault", text, *more]


def send(number: int, victim: int | None, times: int = 1) -> Callable:
    """Sends a signal after the first checkpoint, to the launcher or to a rank."""

    def act(job: subprocess.Popen, run: Path) -> None:
        wait_for_checkpoint(run)
        for _ in range(times):
            time.sleep(0.5 if times > 1 else 0)
            os.kill(job.pid if victim is None else ranks_of(job)[victim], number)

    return act


def wait_for_checkpoint(run: Path) -> None:
    for _ in range(6000):
        if (run / "checkpoints" / "last").is_symlink():
            return
        time.sleep(0.005)
    fail(f"expected a checkpoint in {run} within 30 s, found none")


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


def small_disk(size: str) -> Callable:
    """A file system of its own for the checkpoints."""

    def before(run: Path) -> None:
        (run / "checkpoints").mkdir(parents=True)
        if not mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(run / "checkpoints")):
            fail("expected the right to mount a small file system")

    return before


def remount(option: str) -> Callable:
    def act(run: Path) -> None:
        # Refused while a file is being written.
        for _ in range(1000):
            if mount("-o", f"remount,{option}", str(run / "checkpoints")):
                return
            time.sleep(0.002)
        fail(f"expected {run} to be remounted {option}, found that the system refuses")

    return act


def make_read_only(job: subprocess.Popen, run: Path) -> None:
    wait_for_checkpoint(run)
    remount("ro")(run)


def limit_files(job: subprocess.Popen, run: Path) -> None:
    """Limits the size of files as `ulimit -f 8` does; the kernel's error is that of an exceeded quota."""
    wait_for_checkpoint(run)
    resource.prlimit(ranks_of(job)[0], resource.RLIMIT_FSIZE, (8192, 8192))


def newest(run: Path) -> Path:
    return (run / "checkpoints" / "last").resolve()


def truncate(run: Path) -> None:
    os.truncate(newest(run) / "model.safetensors", (newest(run) / "model.safetensors").stat().st_size - 1)


def flip(name: str) -> Callable:
    """Flips one bit in the middle of a file of the newest checkpoint."""

    def after(run: Path) -> None:
        path = newest(run) / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return after


def remove(name: str) -> Callable:
    return lambda run: (newest(run) / name).unlink()


HALF = ["--steps", "30"]
USR1, TERM = signal.SIGUSR1, signal.SIGTERM
INTERRUPTED, LATE, REFUSED = "milm: interrupted at step", "the limit of the start is 4.0 s", "a checkpoint was refused"
NOT_WRITTEN = "could not write the checkpoint of step 28"
CASES = [
    Case("SIGUSR1 to mpirun", 75, INTERRUPTED, act=send(USR1, None)),
    Case("SIGUSR1 to a rank", 75, INTERRUPTED, act=send(USR1, 1)),
    Case("SIGTERM to a rank", 75, INTERRUPTED, act=send(TERM, 0)),
    Case("SIGTERM to launch.sh", 75, INTERRUPTED, act=send(TERM, None), command=LAUNCHER),
    Case("two SIGTERM, a rank hangs", 75, "", fault("hang:step:0:9"), act=send(TERM, None, 2), command=LAUNCHER),
    Case("a rank hangs before MPI", 1, "MPI has not started in 4.0 s", fault("hang:launch:1:0", "--start-limit", "4")),
    Case("a rank hangs at the start", 1, LATE, fault("hang:start:1:0", "--start-limit", "4")),
    Case("a rank hangs in a step", 1, " for rank 1 (", fault("hang:step:1:30", *IMPATIENT)),
    Case("a rank hangs in the exchange", 1, " for rank 1 (", fault("hang:exchange:1:30", *IMPATIENT)),
    Case("a rank hangs at a snapshot", 1, " for rank 1 (", fault("hang:snapshot:1:28", *IMPATIENT)),
    Case("a corrupted frame", 1, "frame from rank 1 (", fault("corrupt:exchange:1:30")),
    Case("a flipped bit of a parameter", 1, "parameters differ between ranks at step 30", fault("corrupt:step:1:30")),
    Case("an error on one rank", 1, "rank 1: a fault injected by --fault", fault("fail:step:1:30")),
    Case("an error while writing", 1, NOT_WRITTEN, fault("fail:write:0:28")),
    Case("an error before the rename", 1, NOT_WRITTEN, fault("fail:rename:0:28")),
    Case("an error before the link", 1, NOT_WRITTEN, fault("fail:link:0:28")),
    Case("a full disk", 1, "No space left on device", before=small_disk("300k"), after=remount("size=16m")),
    Case("a read-only disk", 1, "Read-only file system", before=small_disk("16m"), act=make_read_only, after=remount("rw")),
    Case("a limit on file size", 1, "File too large", act=limit_files),
    Case("newest checkpoint truncated", 0, REFUSED, HALF, after=truncate),
    Case("a bit of its optimizer flipped", 0, REFUSED, HALF, after=flip("optimizer.safetensors")),
    Case("a bit of its state.json flipped", 0, REFUSED, HALF, after=flip("state.json")),
    Case("its carried state missing", 0, REFUSED, HALF, after=remove("carry.safetensors")),
    Case("its state.json missing", 0, REFUSED, HALF, after=remove("state.json")),
]


def attempt(bench: Trials, name: str, case: Case, expected: list[str]) -> tuple[float, float]:
    """One fault and one restart: seconds from the last step to the job's end, and to the next step."""
    run = bench.work / name
    if case.before:
        case.before(run)
    started = time.time()
    job = bench.start(run, *case.extra, command=case.command)
    actor = threading.Thread(target=case.act, args=(job, run)) if case.act else None
    if actor:
        actor.start()
    _, log = job.communicate()
    ended = time.time()
    if actor:
        actor.join()
    if job.returncode != case.status:
        fail(f"{case.name}: expected status {case.status}, found {job.returncode}\n{log}")
    metrics = run / "metrics.jsonl"
    seconds = ended - (metrics.stat().st_mtime if metrics.exists() else started)
    if case.after:
        case.after(run)
    recovery, from_checkpoint, more = bench.finish(run)
    if case.message not in log + more:
        fail(f"{case.name}: expected the message '{case.message}', found\n{log}{more}")
    if final_state(run) != expected:
        fail(f"{case.name}: expected the parameters of an uninterrupted run, found different ones")
    if case.before:
        subprocess.run(["umount", str(run / "checkpoints")], check=True)
    origin = "continued from a checkpoint" if from_checkpoint else "started from step 0"
    print(f"{case.name}: status {job.returncode}, {origin}", file=sys.stderr)
    shutil.rmtree(run)
    return seconds, recovery


def main() -> None:
    arguments = parsed(__doc__, "tries of each fault", 2)
    cases = [case for case in CASES if os.geteuid() == 0 or not case.before]
    tries = [case for case in cases for _ in range(arguments.count)]
    with trials(arguments.milm) as bench:
        expected, _ = bench.uninterrupted()
        results = concurrently(
            arguments.at_once,
            attempt,
            [(bench, f"run-{number}", case, expected) for number, case in enumerate(tries)],
        )
    print(f"{'fault':<34}{'tries':>6}{'status':>8}{'seconds to the end':>20}{'seconds to the next step':>26}{'lost':>9}")
    for place, case in enumerate(cases):
        rows = results[place * arguments.count : (place + 1) * arguments.count]
        end, recovery = (f"{statistics.median(column):.1f}" for column in zip(*rows))
        end = end if case.status else ""
        print(f"{case.name:<34}{len(rows):>6}{case.status:>8}{end:>20}{recovery:>26}{'nothing':>9}")
    print("each restart ended with the parameters of the uninterrupted run, bit for bit")


if __name__ == "__main__":
    main()
