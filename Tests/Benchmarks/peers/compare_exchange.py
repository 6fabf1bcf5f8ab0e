"""Trains across the lab's link in several ways alternately and prints a table; compare-exchange.sh starts the lab.

The throughput of a run is that of its steps in metrics.jsonl, without the first --skip and the last, at whose checkpoint
gradients are exchanged uncompressed. Gradients of a trained model compress less: --set schedule.warmup=5 and --skip 18
show that. The baseline without exchange is two independent runs of one rank, started at the same time; it does not
depend on the link and is measured once per round. With --hosts 1 both ranks share a host, and memory is their link.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LAB = str(ROOT / "cluster" / "lab.sh")
# Limit for one measurement.
LIMIT_SECONDS = 1800
RANKS = 2
# mpirun can end with status 0 without starting anything, if its daemons do not connect.
ATTEMPTS = 3
NO_EXCHANGE = "the same ranks, no exchange"
ALL_REDUCE = "MPI_Allreduce of fp32"
MILM = "milm, "
DDP = "PyTorch DDP, "


def parsed() -> argparse.Namespace:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(
        prog="Tests/Benchmarks/compare-exchange.sh", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--milm", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, required=True, help="what milm prepare wrote")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "wikitext103-multencdec.yaml")
    parser.add_argument("--lanes", type=int, default=8, metavar="N", help="lanes per rank (8)")
    parser.add_argument("--segment", type=int, default=64, metavar="N", help="tokens per segment (64)")
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="measured steps per run (4)")
    parser.add_argument("--skip", type=int, default=2, metavar="N", help="steps before those (2)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="repetitions (3)")
    parser.add_argument("--hosts", type=int, default=RANKS, choices=[1, RANKS], help="hosts of the two ranks (2)")
    parser.add_argument("--rates", type=names, default=["1gbit", "10gbit"], metavar="R,…")
    parser.add_argument(
        "--codecs",
        type=names,
        default=["none", "lossless", "bfloat16", "int8", "int4", "auto", "int8/sharded"],
        metavar="C,…",
        help="codecs; /sharded selects the sharded vocabulary",
    )
    parser.add_argument(
        "--ddp-modes", type=names, default=["bf16-eager", "bf16-compiled"], metavar="M,…", help="or none"
    )
    parser.add_argument("--ddp-rates", type=names, default=["1gbit"], metavar="R,…", help="rates DDP trains at (1gbit)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of milm's configuration")
    parser.add_argument("--json", action="store_true", help="all measurements in place of the table")
    arguments = parser.parse_args()
    if arguments.hosts == 1:
        arguments.rates = ["memory"]
    return arguments


def lab(*arguments: str) -> list[str]:
    print("compare-exchange:", *arguments, file=sys.stderr, flush=True)
    return [LAB, *arguments]


def result_of(command: list[str], log: Path, result: Callable[[str], dict | None]) -> dict:
    """The result parsed from a program's standard output; if there is none, the program runs again.

    A program must succeed: if it fails, the end of its log is shown.
    """
    command = ["timeout", str(LIMIT_SECONDS), *command]
    for _ in range(ATTEMPTS):
        with log.open("w") as errors:
            run = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT)
        if run.returncode == 0 and (found := result(run.stdout)) is not None:
            return found
        print(*log.read_text().splitlines()[-20:], sep="\n", file=sys.stderr)
        if run.returncode != 0:
            break
    raise SystemExit(f"compare-exchange: {' '.join(command)}: expected a result, found status {run.returncode}")


def last_object(output: str) -> dict | None:
    """The JSON of the last line, if there is any."""
    lines = output.splitlines()
    return json.loads(lines[-1]) if lines else None


def training(arguments: argparse.Namespace, output: Path, ranks: int, codec: str) -> list[str]:
    """A training of that many ranks; the checkpoint at its end is the only one."""
    codec, _, vocabulary = codec.partition("/")
    steps = arguments.skip + arguments.steps + 1
    settings = {
        "training.lanes": ranks * arguments.lanes,
        "training.segment": arguments.segment,
        "training.threads": 1,
        "exchange.codec": codec,
        "exchange.vocabulary": vocabulary or "replicated",
        "exchange.stallWarnSeconds": 60,
        "exchange.stallAbortSeconds": 300,
        "coordinator.reportEvery": 1,
        "coordinator.evaluateEvery": 0,
        "coordinator.checkpointEvery": 1_000_000,
    }
    command = ["milm", "train", str(arguments.config.resolve()), "--corpus", str(arguments.corpus.resolve())]
    command += ["--output", str(output), "--steps", str(steps)]
    for setting in [*(f"{key}={value}" for key, value in settings.items()), *arguments.set]:
        command += ["--set", setting]
    return command


def measured(run: Path, skipped: int) -> dict | None:
    """Tokens/s and, per step, the exchange's seconds and rank 0's bytes; None if the run is incomplete."""
    if not (run / "checkpoints" / "last").exists():
        return None
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "split" not in line][skipped:-1]
    return {
        "tokensPerSecond": statistics.harmonic_mean(line["tokensPerSecond"] for line in steps),
        "exchangeSeconds": statistics.mean(line["exchangeSeconds"] for line in steps),
        "exposedSeconds": statistics.mean(line["exposedSeconds"] for line in steps),
        "wireBytes": statistics.mean(line["wireBytes"] for line in steps),
        "codec": steps[-1]["codec"],
    }


def tensors(run: Path) -> dict:
    """The header of a run's last checkpoint: variant and shapes, defaults included."""
    with (run / "checkpoints" / "last" / "model.safetensors").open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def parameter_count(header: dict) -> int:
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def model_options(header: dict) -> list[str]:
    """The options of the peers' scripts for the model's sizes."""
    (vocabulary, embedding), (_, hidden) = (header[name]["shape"] for name in ("embedding.weight", "lstm.weight_hh"))
    sizes = {"vocabulary": vocabulary, "embedding": embedding, "hidden": hidden}
    for part in ("decoder", "encoder"):
        if f"{part}.context.bias" in header:
            sizes[f"{part}-context"] = header[f"{part}.context.bias"]["shape"][0]
    options = ["--variant", header["__metadata__"]["variant"]]
    for name, size in sizes.items():
        options += [f"--{name}", str(size)]
    return options


class Comparison:
    """The measurements of all rounds, in a lab that is up."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.run = arguments.work / "run"
        self.log = arguments.work / "log"
        # Of the last checkpoint: a round trains with milm before it runs the peers.
        self.header: dict = {}

    def on_ranks(self, command: list[str], result: Callable[[str], dict | None]) -> dict:
        """The result of a command run by both ranks."""
        slots = str(RANKS // self.arguments.hosts)
        return result_of(lab("run", "-n", str(RANKS), "--slots", slots, "--", *command), self.log, result)

    def with_exchange(self, codec: str) -> dict:
        """One training of both ranks."""
        command = training(self.arguments, self.run, RANKS, codec)
        result = self.on_ranks(command, lambda _: measured(self.run, self.arguments.skip))
        self.header = tensors(self.run)
        shutil.rmtree(self.run)
        return result

    def without_exchange(self) -> dict:
        """Each rank as a run of its own, at the same time; their throughputs are added."""
        runs = [self.arguments.work / f"single-{rank}" for rank in range(RANKS)]
        processes = []
        for rank, run in enumerate(runs):
            _, *command_line = training(self.arguments, run, 1, "none")
            host = str(rank % self.arguments.hosts + 1)
            command = lab("on", host, "--", str(self.arguments.milm.resolve()), *command_line)
            with run.with_suffix(".log").open("w") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT))
        speed = 0.0
        for run, process in zip(runs, processes):
            if process.wait() != 0 or (result := measured(run, self.arguments.skip)) is None:
                raise SystemExit(f"compare-exchange: {run.with_suffix('.log').read_text()}")
            speed += result["tokensPerSecond"]
            shutil.rmtree(run)
        return {"tokensPerSecond": speed}

    def all_reduce(self) -> dict:
        """MPI_Allreduce of as many floats as the model has parameters."""
        command = ["python3", "Tests/Benchmarks/peers/allreduce.py", "--floats", str(parameter_count(self.header))]
        return self.on_ranks(command, last_object)

    def ddp(self, mode: str) -> dict:
        """PyTorch's own data-parallel training of the same model and text."""
        arguments = self.arguments
        # mpirun forwards no variables except its own.
        command = ["env", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}", "python3", "Tests/Benchmarks/peers/ddp.py"]
        command += ["--address", f"{os.environ['MILM_LAB']}-1", "--interface", "eth0"]
        command += ["--style", "tuned", "--mode", mode, "--corpus", str(arguments.corpus.resolve()), "--threads", "1"]
        for option in ("lanes", "segment", "steps"):
            command += [f"--{option}", str(getattr(arguments, option))]
        command += model_options(self.header)
        return self.on_ranks(command, last_object)

    def rounds(self) -> dict[str, dict[str, list[dict]]]:
        """All measurements, by rate and name."""
        results: dict[str, dict[str, list[dict]]] = {rate: {NO_EXCHANGE: []} for rate in self.arguments.rates}
        for _ in range(self.arguments.rounds):
            baseline = self.without_exchange()
            for rate, of_rate in results.items():
                if self.arguments.hosts > 1:
                    subprocess.run(lab("rate", rate), check=True)
                of_rate[NO_EXCHANGE].append(baseline)
                for name, measurement in self.measurements(rate):
                    of_rate.setdefault(name, []).append(measurement())
        return results

    def measurements(self, rate: str) -> list[tuple[str, Callable[[], dict]]]:
        """The measurements of a round at a rate, in order."""
        listed: list[tuple[str, Callable[[], dict]]] = []
        listed += [(f"{MILM}{codec}", partial(self.with_exchange, codec)) for codec in self.arguments.codecs]
        listed += [(ALL_REDUCE, self.all_reduce)]
        if self.arguments.ddp_modes != ["none"] and rate in self.arguments.ddp_rates:
            listed += [(f"{DDP}{mode}", partial(self.ddp, mode)) for mode in self.arguments.ddp_modes]
        return listed


def median(runs: list[dict], key: str) -> float | None:
    return statistics.median(run[key] for run in runs) if key in runs[0] else None


def table(results: dict[str, dict[str, list[dict]]]) -> Iterator[str]:
    """The rows in Markdown; ratios are those of medians."""
    columns = ["tokens/s", "% of no-exchange throughput", "of DDP's best", "exchange, s", "exposed, s", "sent, MB"]
    columns += ["speed-up over MPI_Allreduce"]
    yield f"| link | | {' | '.join(columns)} |"
    yield f"|---|---|{'--:|' * len(columns)}"
    for rate, of_rate in results.items():
        baseline = median(of_rate[NO_EXCHANGE], "tokensPerSecond")
        all_reduce = median(of_rate[ALL_REDUCE], "exchangeSeconds")
        peers = [median(runs, "tokensPerSecond") for name, runs in of_rate.items() if name.startswith(DDP)]
        for name, runs in of_rate.items():
            speed, seconds = median(runs, "tokensPerSecond"), median(runs, "exchangeSeconds")
            wire = median(runs, "wireBytes")
            cells = [
                f"{speed:.0f}" if speed else "",
                f"{100 * speed / baseline:.1f} %" if speed else "",
                f"{speed / max(peers):.2f} ×" if speed and peers else "",
                f"{seconds:.3f}" if seconds else "",
                f"{median(runs, 'exposedSeconds'):.3f}" if wire else "",
                f"{wire / 1e6:.1f}" if wire else "",
                f"{all_reduce / seconds:.1f} ×" if seconds else "",
            ]
            chosen = {run["codec"] for run in runs if "codec" in run}
            note = f" ({', '.join(sorted(chosen))})" if name.startswith(f"{MILM}auto") else ""
            yield f"| {rate} | {name}{note} | {' | '.join(cells)} |"


def surroundings(arguments: argparse.Namespace, comparison: Comparison) -> str:
    """Machine, model and sizes."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    header = comparison.header
    hosts = "2 hosts of the lab, one rank and" if arguments.hosts > 1 else "1 host of the lab, 2 ranks of"
    return (
        f"{hosts} one thread each, on {processor}; {header['__metadata__']['variant']}, "
        f"{parameter_count(header):,} parameters, vocabulary {header['embedding.weight']['shape'][0]:,}, "
        f"{arguments.lanes} lanes × {arguments.segment} tokens per rank; medians of {arguments.rounds} rounds "
        f"of {arguments.steps} steps after the first {arguments.skip}; exchange and exposed are seconds per step."
    )


def main() -> None:
    arguments = parsed()
    comparison = Comparison(arguments)
    results = comparison.rounds()
    if arguments.json:
        print(json.dumps({"surroundings": surroundings(arguments, comparison), "results": results}))
        return
    print(surroundings(arguments, comparison), "", *table(results), sep="\n")


if __name__ == "__main__":
    main()
