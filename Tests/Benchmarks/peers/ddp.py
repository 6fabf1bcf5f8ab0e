"""Measures data-parallel training steps in PyTorch, DistributedDataParallel over gloo; rank 0 prints one line of JSON.

    cluster/lab.sh run -n 2 -- python3 Tests/Benchmarks/peers/ddp.py --address lab-1 --interface eth0 --lanes 8 --segment 64

Started once per rank by mpirun or torchrun, which set its number in the environment. The model, its modes and its text
are those of measure.py; --lanes is per rank. Gradients are exchanged as fp16 (the compression hook) or, with --hook none,
as fp32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from datetime import timedelta

import options


def parsed() -> tuple[argparse.Namespace, argparse.Namespace]:
    """The options of ranks and network, and those of measure.py."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--address", default="127.0.0.1", help="the host of rank 0")
    parser.add_argument("--interface", help="network interface for gloo, e.g. eth0")
    parser.add_argument("--hook", default="fp16", choices=["fp16", "none"])
    own, rest = parser.parse_known_args()
    return own, options.parsed(None, rest)


if __name__ == "__main__":
    # First: --help does without PyTorch.
    own, arguments = parsed()

import torch
from torch import distributed
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel

import measure

PORT = 29_571
TIMEOUT = timedelta(minutes=10)


def place() -> tuple[int, int]:
    """This rank and the number of ranks."""
    for rank, count in (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("RANK", "WORLD_SIZE")):
        if rank in os.environ:
            return int(os.environ[rank]), int(os.environ[count])
    raise SystemExit("ddp: expected to be started by mpirun or torchrun, found no rank in the environment")


class Parallel(DistributedDataParallel):
    """A replica whose gradients are averaged during the backward pass."""

    def zero_state(self, lanes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The model's own."""
        return self.module.zero_state(lanes)


def replica(arguments: argparse.Namespace, hook: str) -> Parallel:
    """The model, identical on every rank."""
    model = Parallel(measure.built(arguments), gradient_as_bucket_view=True)
    if hook == "fp16":
        model.register_comm_hook(None, fp16_compress_hook)
    return model


def seconds_of_steps(arguments: argparse.Namespace, hook: str, rank: int) -> list[float]:
    """The seconds of each step after the warm-up."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(measure.SEED + rank)
    step = measure.training(replica(arguments, hook), arguments.lanes, arguments.learning_rate)
    seconds = []
    for tokens, targets in measure.text(arguments):
        distributed.barrier()
        started = time.perf_counter()
        step(tokens, targets)
        seconds.append(time.perf_counter() - started)
    return seconds[arguments.warmup :]


def main(own: argparse.Namespace, arguments: argparse.Namespace) -> None:
    rank, rank_count = place()
    if own.interface:
        os.environ["GLOO_SOCKET_IFNAME"] = own.interface
    distributed.init_process_group(
        "gloo", f"tcp://{own.address}:{PORT}", rank=rank, world_size=rank_count, timeout=TIMEOUT
    )
    # A step takes as long as the slowest rank.
    seconds = torch.tensor(statistics.median(seconds_of_steps(arguments, own.hook, rank)))
    distributed.all_reduce(seconds, distributed.ReduceOp.MAX)
    if rank == 0:
        token_count = rank_count * arguments.lanes * arguments.segment
        result = {
            "tokensPerSecond": token_count / seconds.item(),
            "secondsPerStep": seconds.item(),
            "ranks": rank_count,
            "hook": own.hook,
            "variant": arguments.variant,
            "style": arguments.style,
            "mode": arguments.mode,
            "threads": arguments.threads,
            "lanes": arguments.lanes,
            "segment": arguments.segment,
            "torch": torch.__version__,
        }
        print(json.dumps(result), flush=True)
    # A rank that leaves early makes the others abort.
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(own, arguments)
