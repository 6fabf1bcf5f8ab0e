"""Sends the metrics of a run to an experiment tracker while the run trains."""

from __future__ import annotations

import fcntl
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .files import ReaderError
from .trackers import TRACKERS, Point, reporting

# After a kill, at most these are sent again.
LINES_AT_ONCE = 50


class Tail:
    """The complete lines of a file that grows, from the first; after the file was replaced or cut off, from the first again."""

    def __init__(self, path: Path):
        self._path = path
        self._offset = 0
        self._last = b""

    def read(self) -> list[dict[str, Any]]:
        """The lines since the previous call that are JSON objects."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return []
        with file:
            file.seek(max(0, self._offset - len(self._last)))
            if file.read(len(self._last)) != self._last:
                self._offset, self._last = 0, b""
                file.seek(0)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        lines = data.splitlines(keepends=True)
        if lines:
            self._offset += len(data)
            self._last = lines[-1]
        return list(objects(lines))


def objects(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects among lines."""
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            yield value


class Journal:
    """What has been sent, so that nothing is sent twice: the tracker's name of the run, then a line for each of the metrics."""

    def __init__(self, path: Path):
        self._path = path
        # Opened once there is something to write, and locked: two followers would send everything twice.
        self._file = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReaderError(f"{path}: expected no other follower of this run, found one") from None
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            # The follower was killed while it wrote the line.
            self._file.truncate(len("".join(lines[:-1]).encode()))
            lines.pop()
        self.identifier: str | None = json.loads(lines[0])["id"] if lines else None
        self._sent = set(lines[1:])

    def begin(self, identifier: str) -> None:
        """Notes the tracker's name of the run."""
        self.identifier = identifier
        self._append([json.dumps({"id": identifier}) + "\n"])

    @staticmethod
    def _key(line: dict[str, Any]) -> str:
        """A run that resumes writes the lines after its checkpoint again, with the same values but for times."""
        value = line.get("loss", line.get("perplexity"))
        return json.dumps([line["step"], line.get("split", "train"), value]) + "\n"

    def unsent(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The lines that have not been sent."""
        return [line for line in lines if self._key(line) not in self._sent]

    def add(self, lines: list[dict[str, Any]]) -> None:
        """Notes that lines have been sent."""
        keys = [self._key(line) for line in lines]
        self._sent.update(keys)
        self._append(keys)

    def _append(self, lines: list[str]) -> None:
        self._file.writelines(lines)
        self._file.flush()


class Run:
    """What the files of a run's directory say about its job."""

    def __init__(self, path: Path):
        self.path = path

    def has_job(self) -> bool:
        """Whether a job holds the run's lock."""
        try:
            file = (self.path / "lock").open("rb")
        except FileNotFoundError:
            return False
        with file:
            try:
                # Held for an instant only: a job that starts just then would find the run locked.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                fcntl.flock(file, fcntl.LOCK_UN)
                return False
            except BlockingIOError:
                return True

    def last_step(self) -> int | None:
        """The step at which the newest job of the run was to stop."""
        # A job has a line when it begins, with its last step, and another one when it ends.
        steps = [line["lastStep"] for line in Tail(self.path / "sessions.jsonl").read() if "lastStep" in line]
        return steps[-1] if steps else None

    def configuration(self) -> dict[str, Any]:
        """The keys of config.yaml, with dots."""
        import yaml

        def flat(section: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
            for key, value in section.items():
                if isinstance(value, dict):
                    yield from flat(value, f"{prefix}{key}.")
                else:
                    yield prefix + key, value

        file = self.path / "config.yaml"
        return dict(flat(yaml.safe_load(file.read_text()) or {})) if file.is_file() else {}


def point(line: dict[str, Any]) -> Point:
    """A line of metrics.jsonl as a tracker takes it: `train/loss`, `valid/perplexity`. What is null there is not a number."""
    split = line.get("split", "train")
    values = {
        f"{split}/{key}": math.nan if value is None else value
        for key, value in line.items()
        if key != "step" and (value is None or isinstance(value, (int, float)) and not isinstance(value, bool))
    }
    return Point(line["step"], values)


def follow(
    path: str | Path, service: str, *, project: str = "milm", name: str | None = None, every: float = 5,
    wait: float = 60, state: str | Path | None = None,
) -> str:
    """Sends the metrics of a run to `wandb` or `mlflow` until the run ends; returns a line that says how much was sent.

    A run ends when its job does. If the job stopped before its last step, or has not started, another one has `wait` seconds.
    """
    run = Run(Path(path))
    tail = Tail(run.path / "metrics.jsonl")
    journal: Journal | None = None
    tracker = None
    count, newest, quiet = 0, 0, time.monotonic()
    is_finished = False
    try:
        while True:
            # Before reading: what a job has written is read after it has ended.
            has_job = run.has_job()
            lines = tail.read()
            if lines:
                newest = max(newest, *(line["step"] for line in lines if "split" not in line), 0)
                journal = journal or Journal(Path(state) if state else run.path / f"follow-{service}.jsonl")
                if unsent := journal.unsent(lines):
                    if tracker is None:
                        title = name or run.path.resolve().name
                        with reporting(service):
                            tracker = TRACKERS[service](project, title, run.configuration(), journal.identifier)
                        if journal.identifier is None:
                            journal.begin(tracker.identifier)
                    for first in range(0, len(unsent), LINES_AT_ONCE):
                        with reporting(service):
                            tracker.send([point(line) for line in unsent[first : first + LINES_AT_ONCE]])
                        journal.add(unsent[first : first + LINES_AT_ONCE])
                    count += len(unsent)
            if has_job or lines:
                quiet = time.monotonic()
            last = run.last_step()
            is_finished = last is not None and newest >= last
            if not has_job and (is_finished or time.monotonic() - quiet >= wait):
                break
            time.sleep(every)
    finally:
        if tracker is not None:
            tracker.close(is_finished)
    if journal is None:
        raise ReaderError(f"{path}: expected the metrics of a run within {wait:g} s, found none")
    end = "the run is finished" if is_finished else f"no job has continued the run for {wait:g} s"
    return f"{end}, at step {newest}: sent {count} lines of metrics to {service} run {journal.identifier}"
