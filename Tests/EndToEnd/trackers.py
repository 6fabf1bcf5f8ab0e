#!/usr/bin/env python3
"""Tests `milm_reader follow` with the real wandb and mlflow, offline, and what it does when a run is rewound.

    Tests/EndToEnd/trackers.py [--milm MILM]      # MILM is .build/release/milm by default

Needs wandb and mlflow with a database. Followers start before the run, which stops half way and is resumed. Then every value
of metrics.jsonl must be in Weights & Biases' file and in MLflow's database, once.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import os
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from reader_bench import REPOSITORY, Bench, expect

SERVICES = ("wandb", "mlflow")
Values = dict[str, list[tuple[int, float]]]


def written(run: str) -> Values:
    """What metrics.jsonl has, by the name that a tracker shows."""
    import milm_reader

    values: Values = {}
    for line in milm_reader.metrics(run):
        split = line.pop("split", "train")
        step = line.pop("step")
        for key, value in line.items():
            if value is None or isinstance(value, (int, float)):
                values.setdefault(f"{split}/{key}", []).append((step, math.nan if value is None else value))
    return values


def records(path: Path) -> Iterator[bytes]:
    """The records of a file of wandb: a log of blocks as LevelDB has them, after seven bytes."""
    data, block, position, record = path.read_bytes(), 32768, 7, b""
    while position + 7 <= len(data):
        rest = block - position % block
        _, size, kind = struct.unpack_from("<IHB", data, position) if rest >= 7 else (0, 0, 0)
        if kind == 0:
            position += rest
            continue
        record += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # whole, or the last of several
            yield record
            record = b""


def read_wandb(bench: Bench) -> Values:
    from wandb.proto import wandb_internal_pb2

    values: Values = {}
    files = sorted((bench.directory / "wandb").glob("offline-run-*/*.wandb"))
    expect(len({file.name for file in files}) == 1 and len(files) == 2, "one run in two parts", files)
    for file in files:
        for data in records(file):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for key, value in items.items():
                if "/" in key:
                    values.setdefault(key, []).append((items["step"], float(value)))
    return values


def read_mlflow(bench: Bench) -> Values:
    import mlflow

    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("milm").experiment_id])
    expect(len(runs) == 1 and runs[0].info.status == "FINISHED", "one finished run", runs)
    expect(runs[0].data.params["model.hidden"] == "16", "the configuration as parameters", runs[0].data.params)
    return {
        key: [(point.step, point.value) for point in client.get_metric_history(runs[0].info.run_id, key)]
        for key in runs[0].data.metrics
    }


def check_services(bench: Bench) -> None:
    def follow(service: str) -> subprocess.Popen:
        command = ["milm_reader", "follow", "run", f"--{service}", "--every", "0.1"]
        return subprocess.Popen(command, env=bench.environment, stderr=subprocess.PIPE, text=True)

    def end(followers: list[subprocess.Popen], step: int) -> None:
        for follower in followers:
            _, error = follower.communicate(timeout=120)
            expect(follower.returncode == 0 and f"finished, at step {step}" in error, f"an end at step {step}", error)

    followers = [follow(service) for service in SERVICES]
    bench.train("run", "--steps", "24")
    end(followers, 24)
    bench.train("run", "--resume", "auto")
    end([follow(service) for service in SERVICES], 48)
    expected = written("run")
    expect(len(expected["train/loss"]) == 12, "12 losses", expected["train/loss"])
    for service, found in (("wandb", read_wandb(bench)), ("mlflow", read_mlflow(bench))):
        expect(set(found) == set(expected), f"the names {sorted(expected)} in {service}", sorted(found))
        for key, points in expected.items():
            expect(sorted(found[key]) == sorted(points), f"{points} as {key} in {service}", found[key])
        print(f"{service}: {sum(map(len, found.values()))} values of {len(found)} names, each once")


class Recorder:
    """A tracker that only remembers."""

    identifier = "recorded"
    sent: list[tuple[int, dict]] = []
    ends: list[bool] = []

    def __init__(self, project, name, configuration, identifier):
        self.configuration = configuration

    def send(self, points):
        self.sent += [(point.step, point.values) for point in points]

    def close(self, is_finished):
        self.ends.append(is_finished)


def check_rewinding(bench: Bench) -> None:
    """A run that goes back and takes another way; lines that are being written; a follower that was killed."""
    from milm_reader.follow import follow
    from milm_reader.trackers import TRACKERS

    TRACKERS["recorder"] = Recorder
    run = bench.directory / "rewound"
    run.mkdir()
    metrics, journal = run / "metrics.jsonl", run / "follow-recorder.jsonl"
    (run / "config.yaml").write_text("model:\n  hidden: 16\n")
    (run / "sessions.jsonl").write_text('{"step":0,"lastStep":16}\n')

    def line(step: int, loss: float | None, **more) -> str:
        return json.dumps({"step": step, "loss": loss, **more}) + "\n"

    def wait_for(count: int) -> None:
        deadline = time.monotonic() + 30
        while len(Recorder.sent) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        expect(len(Recorder.sent) == count, f"{count} lines sent", Recorder.sent)

    with (run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        metrics.write_text(line(4, 4.0, time=1) + line(8, None) + line(12, 3.0)[:9])
        results = []
        follower = threading.Thread(
            target=lambda: results.append(follow(run, "recorder", every=0.02, wait=0.2)), daemon=True
        )
        follower.start()
        wait_for(2)
        expect(math.isnan(Recorder.sent[1][1]["train/loss"]), "a loss that is not a number", Recorder.sent[1])
        metrics.write_text(line(4, 4.0, time=1) + line(8, None) + line(12, 3.0))
        wait_for(3)
        # Back to step 4: step 8 is the same again, but for its time, and 12 is not.
        replacement = run / "replacement"
        replacement.write_text(line(4, 4.0, time=1) + line(8, None, time=2) + line(12, 2.5) + line(16, 2.0))
        os.replace(replacement, metrics)
        wait_for(5)
        expect([step for step, _ in Recorder.sent] == [4, 8, 12, 12, 16], "steps 4, 8, 12, 12, 16", Recorder.sent)
        expect(follower.is_alive(), "a follower as long as the job runs", "none")
        fcntl.flock(lock, fcntl.LOCK_UN)
        follower.join(30)
    expect(Recorder.ends == [True] and "the run is finished, at step 16" in results[0], "an end", results)
    journal.write_text(journal.read_text() + '[20, "tr')
    metrics.write_text(metrics.read_text() + line(20, 1.0))
    (run / "sessions.jsonl").write_text('{"step":0,"lastStep":24}\n')
    result = follow(run, "recorder", every=0.02, wait=0.2)
    wait_for(6)
    expect("no job has continued the run" in result and Recorder.ends == [True, False], "a run that waits", result)
    lines = journal.read_text().splitlines()
    expect(len(lines) == 7 and all(json.loads(line) for line in lines), "7 lines of JSON", lines)
    done = bench.call("milm_reader", "follow", "nowhere", "--mlflow", "--wait", "0", status=1)
    expect("expected the metrics of a run within 0 s, found none" in done.stderr, "what is missing", done.stderr)
    print("rewound: what changed was sent again, and nothing else")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--milm", type=Path, default=REPOSITORY / ".build/release/milm")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), arguments.milm)
        bench.enter()
        check_rewinding(bench)
        check_services(bench)


if __name__ == "__main__":
    main()
