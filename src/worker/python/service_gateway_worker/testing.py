"""Trying a worker without gateway, broker or any other server."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .request import Request


@dataclass
class Tried:
    """What came of it."""

    #: What the function returned.
    result: Any = None
    #: The states that were reported, each with its meta.
    states: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


def try_out(task: Any, document: str | os.PathLike[str] | None = None, **misc: Any) -> Tried:
    """Calls the function of a :func:`~service_gateway_worker.service` with this file as its document, and these
    arguments. Raises what it raises."""
    facts, tried = task.service, Tried()
    argument = {"service": {"type": facts["type"], "document": {"url": None}, "misc": misc}, "annotation_service": {}}
    request = Request(
        argument,
        task_id="00000000-0000-0000-0000-000000000000",
        version=facts["version"],
        report=lambda state, meta: tried.states.append((state, meta)),
    )
    if document is not None:
        request._document = Path(document)  # noqa: SLF001 - the same package
    with request:
        request.require(*facts["required"])
        tried.result = facts["function"](request)
    return tried
