"""Measures MPI_Allreduce of fp32, the baseline of milm's exchange; rank 0 prints one line of JSON.

    cluster/lab.sh run -n 2 -- python3 Tests/Benchmarks/peers/allreduce.py --floats 110016319

Calls the MPI library directly, in place, so that only the operation is timed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time


class MPI:
    """The calls used here, from Open MPI's library, whose constants are addresses in it."""

    IN_PLACE = ctypes.c_void_p(1)

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libmpi.so.40", mode=ctypes.RTLD_GLOBAL)
        self.world, self.float, self.sum = (
            ctypes.c_void_p(ctypes.addressof(ctypes.c_char.in_dll(self.library, name)))
            for name in ("ompi_mpi_comm_world", "ompi_mpi_float", "ompi_mpi_op_sum")
        )
        self.library.MPI_Init(None, None)

    def number(self, call: str) -> int:
        """The result of MPI_Comm_rank or MPI_Comm_size."""
        value = ctypes.c_int()
        self.library[call](self.world, ctypes.byref(value))
        return value.value

    def barrier(self) -> None:
        self.library.MPI_Barrier(self.world)

    def all_reduce(self, floats: ctypes.Array) -> None:
        self.library.MPI_Allreduce(self.IN_PLACE, floats, len(floats), self.float, self.sum, self.world)

    def finish(self) -> None:
        self.library.MPI_Finalize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--floats", type=int, default=110_016_319, metavar="N", help="length of the vector")
    parser.add_argument("--times", type=int, default=3, metavar="N")
    arguments = parser.parse_args()
    mpi = MPI()
    floats = (ctypes.c_float * arguments.floats)()
    seconds = []
    for _ in range(arguments.times):
        mpi.barrier()
        started = time.perf_counter()
        mpi.all_reduce(floats)
        mpi.barrier()
        seconds.append(time.perf_counter() - started)
    if mpi.number("MPI_Comm_rank") == 0:
        result = {
            "exchangeSeconds": statistics.median(seconds),
            "floats": arguments.floats,
            "ranks": mpi.number("MPI_Comm_size"),
        }
        print(json.dumps(result), flush=True)
    mpi.finish()


if __name__ == "__main__":
    main()
