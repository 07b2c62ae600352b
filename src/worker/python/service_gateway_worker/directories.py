"""Tasks' directories, and what killed tasks left of theirs.

A process that is killed (a hard time limit, a revoke with terminate, the end of memory) removes nothing. So every
directory is locked for as long as its process lives, and who makes one removes those that nobody has locked.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "service-gateway-python-"
#: Seconds in which a new directory is locked at the latest.
YOUNG = 60


def make() -> tuple[Path, int]:
    """A directory for our eyes alone, and the descriptor that has it locked: to be closed after the removal."""
    _clear(Path(tempfile.gettempdir()))
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = _open(path)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return path, lock


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _clear(parent: Path) -> None:
    for path in parent.glob(PREFIX + "*"):
        try:
            lock = _open(path)
        except OSError:
            continue  # gone meanwhile, or another user's
        try:
            about = os.fstat(lock)
            if about.st_uid != os.geteuid() or time.time() - about.st_mtime < YOUNG:
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # somebody is at work in it
        finally:
            os.close(lock)
