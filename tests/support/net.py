"""Ports for the test rig.

    net.py free N DIR                prints N free TCP ports of 127.0.0.1, one a line; nobody else is given them as long
                                     as the directory DIR is there: a server that was down finds its own again
    net.py await-amqp PORT PID SECS  waits until an AMQP 0-9-1 server answers there

Exit codes of await-amqp: 0 it answers, 1 process PID ended before, 2 the time is over.
"""

import fcntl
import os
import random
import socket
import sys
import tempfile
import time

# Below Linux's ephemeral range (32768 and up), so that no outgoing connection takes a port between our look and its use.
RANGE = (20000, 32000)
# A file for each port that was given away, which names the directory that it was given away for.
GIVEN = os.path.join(tempfile.gettempdir(), f"sg-test-ports-{os.getuid()}")


def free(count, directory):
    """`count` different ports that can be bound now and are nobody's; from now on they are `directory`'s."""
    os.makedirs(GIVEN, mode=0o700, exist_ok=True)
    with open(os.path.join(GIVEN, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = look(count)
        for port in found:
            with open(os.path.join(GIVEN, str(port)), "w", encoding="utf-8") as given:
                given.write(os.path.abspath(directory))
    return found


def is_given(port):
    """Is there somebody who may come back to it?"""
    try:
        with open(os.path.join(GIVEN, str(port)), encoding="utf-8") as given:
            return os.path.isdir(given.read())
    except FileNotFoundError:
        return False


def look(count):
    found = []
    for port in random.sample(range(*RANGE), 2000):
        if is_given(port):
            continue
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
        case ["free", count, directory]:
            print(*free(int(count), directory), sep="\n")
        case ["await-amqp", port, pid, seconds]:
            sys.exit(await_amqp(int(port), int(pid), float(seconds)))
        case _:
            sys.exit(__doc__)
