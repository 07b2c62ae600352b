"""Ports for the test rig.

    net.py free N                    prints N free TCP ports of 127.0.0.1, one a line
    net.py await-amqp PORT PID SECS  waits until an AMQP 0-9-1 server answers there

Exit codes of await-amqp: 0 it answers, 1 process PID ended before, 2 the time is over.
"""

import os
import random
import socket
import sys
import time

# Below Linux's ephemeral range (32768 and up), so that no outgoing connection takes a port between our look and its use.
RANGE = (20000, 32000)


def free(count):
    """`count` different ports that can be bound now."""
    found = []
    for port in random.sample(range(*RANGE), 2000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    sys.exit("no free ports")


def answers(port):
    """Does the server at `port` greet a client with Connection.Start?"""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as peer:
            peer.sendall(b"AMQP\x00\x00\x09\x01")
            return peer.recv(1) == b"\x01"  # a method frame; a refusal would be another "AMQP…" header
    except OSError:
        return False


def alive(pid):
    """Does the process live? (A zombie does not.)"""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def await_amqp(port, pid, seconds):
    """Exit code, as the module says."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answers(port):
            return 0
        if not alive(pid):
            return 1
        time.sleep(0.1)
    return 2


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["free", count]:
            print(*free(int(count)), sep="\n")
        case ["await-amqp", port, pid, seconds]:
            sys.exit(await_amqp(int(port), int(pid), float(seconds)))
        case _:
            sys.exit(__doc__)
