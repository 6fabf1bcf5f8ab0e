"""Reads runs, checkpoints and corpora of milm: perplexity in PyTorch, export to transformers, Weights & Biases, MLflow.

    milm_reader perplexity RUN CORPUS --split test
    milm_reader export-hf RUN DIRECTORY
    milm_reader follow RUN --wandb

Each command has --help. Without an installation: PYTHONPATH=Sources/milm/python python3 -m milm_reader …
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from .files import SPLITS, ReaderError


def add_perplexity(commands) -> None:
    parser = commands.add_parser(
        "perplexity", help="the perplexity of a split, computed by PyTorch",
        description="Computes the perplexity of a split in PyTorch, as `milm evaluate` defines it; prints JSON.",
    )
    parser.add_argument("run", metavar="RUN", help="a run, a checkpoint or a model.safetensors")
    parser.add_argument("corpus", metavar="CORPUS", help="the directory that milm prepare wrote")
    parser.add_argument("--split", default="test", choices=SPLITS, help="default: test")
    parser.add_argument("--tokens", dest="limit", type=int, metavar="N", help="only the first N tokens")

    def run(arguments: argparse.Namespace) -> None:
        from .scoring import perplexity

        print(json.dumps(perplexity(arguments.run, arguments.corpus, arguments.split, arguments.limit)))

    parser.set_defaults(action=run)


def add_export(commands) -> None:
    parser = commands.add_parser(
        "export-hf", help="a directory that transformers opens",
        description="Writes a directory that transformers.AutoModelForCausalLM.from_pretrained(DIRECTORY, "
        "trust_remote_code=True) and AutoTokenizer.from_pretrained(DIRECTORY) open.",
    )
    parser.add_argument("run", metavar="RUN", help="a run, or a checkpoint in its run")
    parser.add_argument("directory", metavar="DIRECTORY", type=Path, help="the directory to write, which must be new or empty")
    parser.add_argument("--corpus", metavar="CORPUS", help="the vocabulary, for a checkpoint outside its run")

    def run(arguments: argparse.Namespace) -> None:
        from .export import export

        for warning in export(arguments.run, arguments.directory, arguments.corpus):
            print(f"milm_reader: warning: {warning}", file=sys.stderr)
        print(arguments.directory)

    parser.set_defaults(action=run)


def add_follow(commands) -> None:
    parser = commands.add_parser(
        "follow", help="sends the metrics of a run, while it trains, to Weights & Biases or MLflow",
        description="Sends each line of the run's metrics.jsonl as it is written, continues where an earlier call "
        "stopped, and ends when the run ends. Start it before, during or after training, on any host that sees RUN.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run's directory")
    service = parser.add_mutually_exclusive_group(required=True)
    service.add_argument("--wandb", action="store_const", dest="service", const="wandb", help="Weights & Biases")
    service.add_argument("--mlflow", action="store_const", dest="service", const="mlflow", help="MLflow")
    parser.add_argument("--project", default="milm", help="project, or experiment of MLflow (default: milm)")
    parser.add_argument("--name", help="name of the run there (default: the directory's)")
    parser.add_argument("--every", type=float, default=5, metavar="SECONDS", help="between looks (default: 5)")
    parser.add_argument(
        "--wait", type=float, default=60, metavar="SECONDS",
        help="how long a run without a job may take to start or to be resumed, unless it is finished (default: 60)",
    )
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="what has been sent (default: RUN/follow-SERVICE.jsonl)"
    )

    def run(arguments: argparse.Namespace) -> None:
        from .follow import follow

        # A batch system ends a follower with the job; the tracker's run is closed then too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        print(
            follow(
                arguments.run, arguments.service, project=arguments.project, name=arguments.name,
                every=arguments.every, wait=arguments.wait, state=arguments.state,
            ),
            file=sys.stderr,
        )

    parser.set_defaults(action=run)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="milm_reader", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (add_perplexity, add_export, add_follow):
        add(commands)
    arguments = parser.parse_args()
    try:
        arguments.action(arguments)
    except (ReaderError, OSError, ValueError) as error:
        sys.exit(f"milm_reader: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"milm_reader: expected the Python package {error.name}, found none; pip install {error.name}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
