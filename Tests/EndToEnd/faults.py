"""Inflicts every other fault than a kill on milm runs and prints what became of them: cluster/kills.sh --faults calls it."""

import os
import pathlib
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

from trials import COUNT, RANKS, WORK, begin, fail, final, finish, ranks_of, some_at_once, uninterrupted

LAUNCHER = [str(pathlib.Path(__file__).with_name("launch.sh")), "-n", str(RANKS), "--threads", "1", "--"]
IMPATIENT = ["--set", "exchange.stallWarnSeconds=1", "--set", "exchange.stallAbortSeconds=3"]


class Case:
    """A fault, what a job must end with and say, and what is done to it."""

    def __init__(self, name, statuses, said, *extra, act=None, command=None, before=None, after=None):
        self.name, self.statuses, self.said, self.extra = name, statuses, said, extra
        self.act, self.command, self.before, self.after = act, command, before, after


def send(number, victim, times=1):
    """Sends a signal once the first checkpoint stands: to the launcher, or to a rank."""

    def act(job, run):
        wait_for_checkpoint(run)
        for _ in range(times):
            time.sleep(0.5 if times > 1 else 0)
            os.kill(job.pid if victim is None else ranks_of(job)[victim], number)

    return act


def wait_for_checkpoint(run):
    for _ in range(6000):
        if (run / "checkpoints" / "last").is_symlink():
            return
        time.sleep(0.005)
    fail(f"expected a checkpoint in {run} within 30 s, found none")


def mount(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


def small_disk(size):
    def before(run):
        (run / "checkpoints").mkdir(parents=True)
        if not mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(run / "checkpoints")):
            fail("expected the right to mount a small file system")

    return before


def remount(option):
    def act(run):
        # A file that is being written forbids it for a moment.
        for _ in range(1000):
            if mount("-o", f"remount,{option}", str(run / "checkpoints")):
                return
            time.sleep(0.002)
        fail(f"cannot remount {run} {option}")

    return act


def make_read_only(job, run):
    wait_for_checkpoint(run)
    remount("ro")(run)


def limit_files(job, run):
    """As `ulimit -f 8` would: the kernel refuses longer files, as it does beyond a quota."""
    wait_for_checkpoint(run)
    resource.prlimit(ranks_of(job)[0], resource.RLIMIT_FSIZE, (8192, 8192))


def newest(run):
    return (run / "checkpoints" / "last").resolve()


def truncate(run):
    os.truncate(newest(run) / "model.safetensors", (newest(run) / "model.safetensors").stat().st_size - 1)


def flip(name):
    def after(run):
        path = newest(run) / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return after


def remove(name):
    return lambda run: (newest(run) / name).unlink()


HALF = ["--steps", "30"]
CASES = [
    Case("SIGUSR1 to mpirun", {75}, "milm: interrupted at step", act=send(signal.SIGUSR1, None)),
    Case("SIGUSR1 to a rank", {75}, "milm: interrupted at step", act=send(signal.SIGUSR1, 1)),
    Case("SIGTERM to a rank", {75}, "milm: interrupted at step", act=send(signal.SIGTERM, 0)),
    Case("SIGTERM to launch.sh", {75}, "milm: interrupted at step", act=send(signal.SIGTERM, None), command=LAUNCHER),
    Case("a second SIGTERM, a rank hanging", {75}, "", "--fault", "hang:step:0:9", act=send(signal.SIGTERM, None, 2), command=LAUNCHER),
    Case("a rank hangs before MPI", {1}, "MPI has not started in 4.0 s", "--fault", "hang:launch:1:0", "--start-limit", "4"),
    Case("a rank hangs at the start", {1}, "the limit of the start is 4.0 s", "--fault", "hang:start:1:0", "--start-limit", "4"),
    Case("a rank hangs in a step", {1}, " for rank 1 (", "--fault", "hang:step:1:30", *IMPATIENT),
    Case("a rank hangs in the exchange", {1}, " for rank 1 (", "--fault", "hang:exchange:1:30", *IMPATIENT),
    Case("a rank hangs at a snapshot", {1}, " for rank 1 (", "--fault", "hang:snapshot:1:28", *IMPATIENT),
    Case("a bad frame", {1}, "frame from rank 1 (", "--fault", "garble:exchange:1:30"),
    Case("a flipped bit of a parameter", {1}, "parameters differ between ranks at step 30", "--fault", "garble:step:1:30"),
    Case("an error on one rank", {1}, "rank 1: the fault asked for", "--fault", "fail:step:1:30"),
    Case("an error while writing", {1}, "could not write the checkpoint of step 28", "--fault", "fail:write:0:28"),
    Case("an error before the rename", {1}, "could not write the checkpoint of step 28", "--fault", "fail:rename:0:28"),
    Case("an error before the link", {1}, "could not write the checkpoint of step 28", "--fault", "fail:link:0:28"),
    Case("a full disk", {1}, "No space left on device", before=small_disk("300k"), after=remount("size=16m")),
    Case("a disk turned read-only", {1}, "Read-only file system", before=small_disk("16m"), act=make_read_only, after=remount("rw")),
    Case("a limit on the size of files", {1}, "File too large", act=limit_files),
    Case("newest checkpoint truncated", {0}, "a checkpoint was refused", *HALF, after=truncate),
    Case("a bit of its optimizer flipped", {0}, "a checkpoint was refused", *HALF, after=flip("optimizer.safetensors")),
    Case("a bit of its state.json flipped", {0}, "a checkpoint was refused", *HALF, after=flip("state.json")),
    Case("its carried state missing", {0}, "a checkpoint was refused", *HALF, after=remove("carry.safetensors")),
    Case("its state.json missing", {0}, "a checkpoint was refused", *HALF, after=remove("state.json")),
]


def attempt(number, case, expected):
    """One fault and one restart; returns the seconds from the last step to the job's end, and to the next step."""
    run = WORK / f"run-{number}"
    if case.before:
        case.before(run)
    began = time.time()
    job = begin(run, *case.extra, command=case.command)
    actor = threading.Thread(target=case.act, args=(job, run)) if case.act else None
    if actor:
        actor.start()
    _, said = job.communicate()
    ended = time.time()
    if actor:
        actor.join()
    if job.returncode not in case.statuses:
        fail(f"{case.name}: expected status {case.statuses}, found {job.returncode}\n{said}")
    metrics = run / "metrics.jsonl"
    seconds = ended - (metrics.stat().st_mtime if metrics.exists() else began)
    if case.after:
        case.after(run)
    recovery, origin, more = finish(run)
    if case.said not in said + more:
        fail(f"{case.name}: expected to be told '{case.said}', found\n{said}{more}")
    if final(run) != expected:
        fail(f"{case.name}: the last parameters are others than the uninterrupted run's")
    if case.before:
        subprocess.run(["umount", str(run / "checkpoints")], check=True)
    print(f"{case.name}: status {job.returncode}, then {origin}", file=sys.stderr)
    shutil.rmtree(run)
    return job.returncode, seconds, recovery


def main():
    cases = CASES if os.geteuid() == 0 else [case for case in CASES if not case.before]
    expected, _ = uninterrupted()
    tries = [(case, number) for case in cases for number in range(COUNT)]
    results = some_at_once(attempt, [(place, case, expected) for place, (case, _) in enumerate(tries)])
    print(f"{'fault':<34}{'tries':>6}{'status':>8}{'seconds to the end':>20}{'seconds to the next step':>26}{'lost':>9}")
    for place, case in enumerate(cases):
        rows = results[place * COUNT : (place + 1) * COUNT]
        status = ", ".join(sorted({str(row[0]) for row in rows}))
        end, recovery = (f"{statistics.median(row[column] for row in rows):.1f}" for column in (1, 2))
        end = "" if case.statuses == {0} else end
        print(f"{case.name:<34}{len(rows):>6}{status:>8}{end:>20}{recovery:>26}{'nothing':>9}")
    print("after each: the next process ended with the parameters of the uninterrupted run, bit for bit")


main()
