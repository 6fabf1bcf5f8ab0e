"""Runs milm and PyTorch alternately on the same models and prints the ratios; Tests/Benchmarks/compare.sh calls this.

PyTorch has two styles: `standard`, the model as its users write it (standard.py), and `tuned`, optimized by hand
(tuned.py). For every variant and precision each round runs milm, then both, each in a process of its own, one at a time.
The first round tries all modes of a style; later rounds repeat those within 10 % of the best. Prints medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from options import MODES, PEER_MODES, STYLES, VARIANTS

ROOT = Path(__file__).resolve().parents[3]
NEARLY_BEST = 0.9


@dataclass(frozen=True)
class Shape:
    """The sizes of a comparison: model, lanes and tokens per segment."""

    vocabulary: int
    embedding: int
    hidden: int
    lanes: int
    segment: int
    decoder_context: int = 32
    encoder_context: int = 72

    def __str__(self) -> str:
        model = f"V = {self.vocabulary:,}, E = {self.embedding}, H = {self.hidden:,}"
        return f"{model}, K = {self.decoder_context} and {self.encoder_context}, {self.lanes} lanes × {self.segment} tokens"


SHAPES = {
    "paper": Shape(267_735, 256, 2048, lanes=16, segment=64),
    "small": Shape(33_278, 256, 1024, lanes=32, segment=64),
}


def parsed() -> argparse.Namespace:
    def names(*known: str) -> Callable[[str], list[str]]:
        """A comma-separated choice of these."""

        def chosen(text: str) -> list[str]:
            unknown = [name for name in text.split(",") if name not in known]
            if unknown:
                raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, found {', '.join(unknown)}")
            return text.split(",")

        return chosen

    parser = argparse.ArgumentParser(
        prog="Tests/Benchmarks/compare.sh", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--milm", type=Path, required=True, help="the program (compare.sh gives it)")
    parser.add_argument("--steps", type=int, default=5, metavar="N", help="timed steps per run")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--shape", default="paper", choices=SHAPES)
    parser.add_argument("--variants", type=names(*VARIANTS), default=VARIANTS, metavar="V,…")
    parser.add_argument("--precisions", type=names(*PEER_MODES), default=list(PEER_MODES), metavar="P,…")
    parser.add_argument("--styles", type=names(*STYLES), default=STYLES, metavar="S,…", help="of PyTorch")
    parser.add_argument("--peer-modes", type=names(*MODES), default=MODES, metavar="M,…", help="only these, and their precisions")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--task", default="train", choices=["train", "evaluate"])
    parser.add_argument("--corpus", type=Path, help="text and vocabulary (default: tokens drawn by Zipf's law)")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def result(command: list[str]) -> dict:
    """The JSON that a program prints as its last line."""
    print("compare:", " ".join(command), file=sys.stderr, flush=True)
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if run.returncode != 0:
        raise SystemExit(f"compare: {command[0]}: expected exit status 0, found {run.returncode}")
    return json.loads(run.stdout.splitlines()[-1])


def shape_of(arguments: argparse.Namespace) -> Shape:
    """The requested shape; a corpus determines the vocabulary."""
    shape = SHAPES[arguments.shape]
    if arguments.corpus is None:
        return shape
    facts = json.loads((arguments.corpus / "corpus.json").read_text(encoding="utf-8"))
    return replace(shape, vocabulary=facts["vocabularySize"])


def common(arguments: argparse.Namespace, shape: Shape) -> list[str]:
    """The options that both programs have."""
    options = {"lanes": shape.lanes, "segment": shape.segment, "threads": arguments.threads, "steps": arguments.steps}
    if arguments.corpus:
        options["corpus"] = arguments.corpus.resolve()
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


def milm_run(arguments: argparse.Namespace, shape: Shape, variant: str, precision: str) -> dict:
    settings = {"model.embedding": shape.embedding, "model.hidden": shape.hidden, "training.precision": precision}
    if variant != "lstm":
        settings["model.decoderContext"] = shape.decoder_context
    if variant == "multencdec":
        settings["model.encoderContext"] = shape.encoder_context
    benchmark = "step" if arguments.task == "train" else "evaluate"
    command = [str(arguments.milm.resolve()), "benchmark", benchmark, f"configs/wikitext103-{variant}.yaml", "--json"]
    command += ["--vocabulary-size", str(shape.vocabulary)] + common(arguments, shape)
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    return result(command)


def peer_run(arguments: argparse.Namespace, shape: Shape, variant: str, style: str, mode: str) -> dict:
    command = [sys.executable, "Tests/Benchmarks/peers/measure.py", "--style", style, "--variant", variant, "--mode", mode]
    command += ["--task", arguments.task, "--vocabulary", str(shape.vocabulary)]
    command += ["--embedding", str(shape.embedding), "--hidden", str(shape.hidden)]
    command += ["--decoder-context", str(shape.decoder_context), "--encoder-context", str(shape.encoder_context)]
    return result(command + common(arguments, shape))


def peer_modes(arguments: argparse.Namespace, precision: str) -> list[str]:
    return [mode for mode in PEER_MODES[precision] if mode in arguments.peer_modes]


def speed(runs: Iterable[dict]) -> float:
    return statistics.median(run["tokensPerSecond"] for run in runs)


def memory(runs: Iterable[dict]) -> float:
    return statistics.median(run["peakMegabytes"] for run in runs)


def nearly_best(modes: dict[str, list[dict]]) -> list[str]:
    """The modes worth another run; all of them before the first."""
    best = max((speed(runs) for runs in modes.values() if runs), default=0)
    return [mode for mode, runs in modes.items() if not runs or speed(runs) >= NEARLY_BEST * best]


def against(milm: list[dict], modes: dict[str, list[dict]]) -> dict:
    """milm against the best mode of one style."""
    mode = max(modes, key=lambda mode: speed(modes[mode]))
    return {
        "bestMode": mode,
        "speedRatio": speed(milm) / speed(modes[mode]),
        "memoryRatio": memory(milm) / memory(modes[mode]),
        "modes": modes,
    }


def compared(arguments: argparse.Namespace, variant: str, precision: str) -> dict:
    """All runs of one row of the table: milm's, and PyTorch's by style and mode."""
    shape = shape_of(arguments)
    milm: list[dict] = []
    peers: dict[str, dict[str, list[dict]]] = {
        style: {mode: [] for mode in peer_modes(arguments, precision)} for style in arguments.styles
    }
    for _ in range(arguments.rounds):
        milm.append(milm_run(arguments, shape, variant, precision))
        for style, modes in peers.items():
            for mode in nearly_best(modes):
                modes[mode].append(peer_run(arguments, shape, variant, style, mode))
    return {
        "variant": variant,
        "precision": precision,
        "milm": milm,
        "peers": {style: against(milm, modes) for style, modes in peers.items()},
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def surroundings(arguments: argparse.Namespace, rows: list[dict]) -> dict:
    """Machine, versions and sizes."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    peer = next(iter(rows[0]["peers"].values()))
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": arguments.threads,
        "task": arguments.task,
        "shape": str(shape_of(arguments)),
        "text": str(arguments.corpus) if arguments.corpus else "drawn, p ∝ 1 / (rank + 1)",
        "milm": commit.stdout.strip(),
        "engines": {row["precision"]: row["milm"][0].get("engine") for row in rows},
        "cpuLevel": rows[0]["milm"][0].get("cpuLevel"),
        "peer": peer["modes"][peer["bestMode"]][0]["versions"],
        "steps": arguments.steps,
        "rounds": arguments.rounds,
    }


def heading(facts: dict) -> str:
    task = {"train": "Training steps (forward, loss, backward, clip, Adam)", "evaluate": "Evaluation (forward)"}
    engines = "; ".join(f"{precision}: {engine}" for precision, engine in facts["engines"].items())
    versions = facts["peer"]
    return (
        f"{task[facts['task']]}; {facts['shape']}; text: {facts['text']}.\n"
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads, {facts['cpuLevel']}; {facts['date']}.\n"
        f"milm {facts['milm']} ({engines}); PyTorch {versions['torch']} (oneDNN {versions['onednn']}).\n"
        f"Medians of {facts['rounds']} alternating rounds of {facts['steps']} steps; MB is peak memory.\n"
        "\n"
        "PyTorch standard: as its users write it: nn.LSTM or a loop of linear, whole logits, autocast, torch.compile.\n"
        "PyTorch tuned: optimized by hand: products over all steps, weights converted once per step, memory reused.\n"
        "Each style in its best mode; ratios are milm over PyTorch.\n"
    )


def table(rows: list[dict]) -> str:
    styles = rows[0]["peers"]
    columns = ["variant", "precision", "milm, tokens/s", "share of peak", "milm, MB"]
    for style in styles:
        columns += [f"{style}, tokens/s", "its mode", "**ratio**", f"{style}, MB", "ratio"]
    lines = [columns, ["---"] * len(columns)] + [cells(row) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: dict) -> list[str]:
    """A row of the table."""
    milm = row["milm"]
    shares = [run["peakShare"] for run in milm if run.get("peakShare") is not None]
    share = f"{100 * statistics.median(shares):.0f} %" if shares else "–"
    texts = [row["variant"], row["precision"], f"{speed(milm):,.0f}", share, f"{memory(milm):,.0f}"]
    for peer in row["peers"].values():
        runs = peer["modes"][peer["bestMode"]]
        texts += [f"{speed(runs):,.0f}", peer["bestMode"], f"**{peer['speedRatio']:.2f}**"]
        texts += [f"{memory(runs):,.0f}", f"{peer['memoryRatio']:.2f}"]
    return texts


def main() -> None:
    arguments = parsed()
    rows = [
        compared(arguments, variant, precision)
        for precision in arguments.precisions
        if peer_modes(arguments, precision)
        for variant in arguments.variants
    ]
    if not rows:
        raise SystemExit("compare: expected --peer-modes of the --precisions, found none")
    facts = surroundings(arguments, rows)
    if arguments.json:
        print(json.dumps(facts | {"rows": rows}, ensure_ascii=False))
    else:
        print(heading(facts))
        print(table(rows))


if __name__ == "__main__":
    main()
