#!/usr/bin/env python3
"""The rate of a plain TCP stream between two machines, to check a link before anything is built on it.

    tcp-stream.py receive ADDRESS      takes one stream and ends
    tcp-stream.py send ADDRESS         sends for a second, prints what arrived, e.g. "941 Mbit/s"
"""
import socket
import sys
import time

PORT = 7571
SECONDS = 1.0
BLOCK = 1 << 18


def receive(address):
    """Answers a stream with the number of bytes that came and the seconds from its first to its last."""
    with socket.create_server((address, PORT)) as server:
        server.settimeout(20)
        connection, _ = server.accept()
    with connection:
        block = bytearray(BLOCK)
        byte_count, began, ended = 0, None, None
        while count := connection.recv_into(block):
            ended = time.monotonic()
            # The first block waited in buffers; the clock starts when it has come.
            if began is None:
                began = ended
            else:
                byte_count += count
        seconds = ended - began if began is not None else 0
        connection.sendall(f"{byte_count} {seconds}\n".encode())


def send(address):
    """Sends as fast as the link takes it, and prints the rate at which it came out at the other end."""
    connection = connect(address)
    with connection:
        block = bytes(BLOCK)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
        byte_count, seconds = connection.makefile().readline().split()
    if float(seconds) == 0:
        sys.exit("tcp-stream: expected a stream, found a single block")
    print(f"{int(byte_count) * 8 / float(seconds) / 1e6:.0f} Mbit/s")


def connect(address):
    """A connection; the receiver may have been started at the same moment, so it is tried for 10 seconds."""
    deadline = time.monotonic() + 10
    while True:
        try:
            connection = socket.create_connection((address, PORT), timeout=20)
            return connection
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("receive", "send"):
        sys.exit("tcp-stream: expected receive ADDRESS or send ADDRESS")
    try:
        receive(sys.argv[2]) if sys.argv[1] == "receive" else send(sys.argv[2])
    except OSError as error:
        sys.exit(f"tcp-stream: {sys.argv[1]} {sys.argv[2]}: {error}")
