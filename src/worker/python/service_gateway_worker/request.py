"""A task, as the function that does it sees it."""

from __future__ import annotations

import http.client
import json
import logging
import math
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

from . import directories
from .exceptions import DownloadError, InvalidAnnotationFormat, MissingParameterError, UploadError
from .outside import CHUNK, Outside, Policy, Refused, redact

log = logging.getLogger(__name__)

#: Seconds between two reports of progress.
INTERVAL = 0.2

Report = Callable[[str, dict[str, Any]], None]


class Request:
    """A task. Used as a context, its :attr:`directory` is removed at the end.

    ``argument`` is what the gateway sends: ``{"request_time", "service": {"type", "document": {"url"}, "misc"},
    "annotation_service": {"url"}}``. ``report`` is given a state and its meta.
    """

    def __init__(
        self,
        argument: Mapping[str, Any],
        *,
        task_id: str = "",
        version: str = "",
        report: Report = lambda _state, _meta: None,
        policy: Policy | None = None,
        gateway_url: str | None = None,
        shared_key: str | None = None,
    ) -> None:
        service = _mapping(argument, "service")
        #: All that the gateway sent.
        self.argument = argument
        #: The task's uuid.
        self.uuid = task_id
        #: The task's name without the application.
        self.type = str(service.get("type") or "")
        #: The worker's version.
        self.version = version
        #: What the client gave beside the document: every other argument.
        self.misc = _mapping(service, "misc")
        #: Where the document is, if there is one.
        self.document_url = _text(_mapping(service, "document").get("url"))
        #: Where annotations go, if the client asked for that.
        self.annotation_url = _text(_mapping(argument, "annotation_service").get("url"))
        #: Where files go: the storage service.
        self.upload_url = _text(self.misc.get("upload_url"))
        #: Who is told that the task has ended.
        self.callback_url = _text(self.misc.get("callback_url"))
        self.outside = Outside(policy or Policy.from_environment())
        self._gateway = gateway_url if gateway_url is not None else os.environ.get("SERVICE_GATEWAY_URL", "")
        self._key = shared_key if shared_key is not None else os.environ.get("SERVICE_GATEWAY_SHARED_KEY", "")
        self._report = report
        self._meta = {
            "worker_id_version": version,
            "start_time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S"),
            "host": socket.gethostname(),
            "type": self.type,
        }
        self._told = -1.0
        self._told_at = -math.inf
        self._document: Path | None = None
        self._directory: Path | None = None
        self._lock = -1

    def __enter__(self) -> Request:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            os.close(self._lock)
            self._directory = self._document = None

    @property
    def directory(self) -> Path:
        """A directory of this task's own, for nobody's eyes but ours; removed at the end, or by the next task if this
        one is killed."""
        if self._directory is None:
            self._directory, self._lock = directories.make()
        return self._directory

    def get(self, name: str, default: Any = None) -> Any:
        """An argument of the client, or ``default``."""
        return self.misc.get(name, default)

    def require(self, *names: str) -> list[Any]:
        """The values of these arguments. Raises :class:`MissingParameterError`, which names all that are missing."""
        missing = [name for name in names if self.misc.get(name) in (None, "")]
        if missing:
            raise MissingParameterError("give " + ", ".join(missing))
        return [self.misc[name] for name in names]

    def document(self, max_bytes: int = 1 << 30, max_seconds: float = 3600.0) -> Path:
        """The document as a file with the extension that its URL has; fetched the first time.

        Raises :class:`MissingParameterError` if the task has none, and :class:`DownloadError`.
        """
        if self._document is not None:
            return self._document
        if self.document_url is None:
            raise MissingParameterError("the task has no document: give doc_url")
        try:
            extension = re.search(r"\.[A-Za-z0-9]{1,10}$", urlsplit(self.document_url).path)
            path = self.directory / ("document" + (extension.group() if extension else ""))
            self.outside.download(self.document_url, path, max_bytes, time.monotonic() + max_seconds)
        except ValueError as error:
            raise DownloadError(f"{redact(self.document_url)} is no URL: {error}") from None
        self._document = path
        return path

    def set_progress(self, done: float, total: float = 100.0) -> None:
        """Tells that ``done`` of ``total`` is done. Less than before, and what is no number, changes nothing; told at
        most five times a second, and always at the end."""
        per_cent = 100.0 * done / total if total > 0 else math.nan
        if not self._told < per_cent <= 100.0:
            return
        now = time.monotonic()
        if now - self._told_at < INTERVAL and per_cent < 100.0:
            return
        self._told, self._told_at = per_cent, now
        self._report("PROGRESS", {"current": math.floor(per_cent), "total": 100, **self._meta})

    def store_annotations(self, annotations: Sequence[Mapping[str, Any]]) -> None:
        """Hands annotations in, if the client asked for that; else only looks at them.

        One without ``@id`` gets the task's type, one without ``@version`` the worker's version. Raises
        :class:`InvalidAnnotationFormat` and :class:`UploadError`.
        """
        if not isinstance(annotations, (list, tuple)):
            raise InvalidAnnotationFormat(f"annotations are a list, not {type(annotations).__name__}")
        complete = []
        for number, annotation in enumerate(annotations):
            if not isinstance(annotation, Mapping) or not isinstance(annotation.get("@id", ""), str):
                raise InvalidAnnotationFormat(f"annotation {number} is not an object with a text as its @id")
            complete.append({"@id": self.type, "@version": self.version, **annotation})
        try:
            body = json.dumps({"common": {}, "data": complete}, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise InvalidAnnotationFormat(f"the annotations are no JSON: {error}") from None
        if self.annotation_url is None:
            return
        self._report("STORING", dict(self._meta))
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        status, _ = self._exchange("POST", self.annotation_url, body, headers, "the annotations were not stored")
        if status not in (200, 201, 204):
            raise UploadError(f"the annotations were not stored: {redact(self.annotation_url)} answered {status}")

    def upload(self, path: str | os.PathLike[str], name: str | None = None) -> dict[str, str]:
        """Hands a file in; gives ``{"name", "storage_doc_id"}`` from the storage service, or ``{"name", "url"}`` where
        the gateway keeps it as a temporary file. Raises :class:`UploadError`."""
        file, name = Path(path), name or Path(path).name
        self._report("STORING", dict(self._meta))
        what = f"the file {name!r} was not stored"
        if self.upload_url is None:
            return {"name": name, "url": self._keep(file, what)}
        join = "&" if "?" in self.upload_url else "?"
        ask = f"{self.upload_url}{join}filename={quote(name, safe='')}"
        status, answer = self._exchange("GET", ask, None, {"Accept": "application/json"}, what)
        try:
            place = json.loads(answer)
            document, url = place["storage_doc_id"], place["upload_url"]
        except (ValueError, KeyError, TypeError):
            raise UploadError(f"{what}: {redact(self.upload_url)} answered {status}, and no place for it") from None
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
        status, _ = self._exchange("PUT", url, _Pieces(file), headers, what)
        if not 200 <= status < 300:
            raise UploadError(f"{what}: {redact(url)} answered {status}")
        return {"name": name, "storage_doc_id": str(document)}

    def _keep(self, file: Path, what: str) -> str:
        if not self._gateway:
            raise UploadError(f"{what}: the task names no upload_url, and SERVICE_GATEWAY_URL is not set")
        boundary = uuid.uuid4().hex
        suffix = file.suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,10}", file.suffix) else ""
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file{suffix}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + file.stat().st_size + len(tail)),
        }
        if self._key:
            headers["X-Service-Key"] = self._key
        url = self._gateway.rstrip("/") + "/temporary_file"
        status, answer = self._exchange("POST", url, _Pieces(file, head, tail), headers, what)
        if status != 201:
            raise UploadError(f"{what}: {redact(url)} answered {status}")
        return answer.decode().strip()

    def call_back(self, status: str) -> None:
        """Tells :attr:`callback_url`, if there is one, how the task ended. A failure is only logged."""
        if self.callback_url is None:
            return
        body = json.dumps({"uuid": self.uuid, "status": status}).encode()
        try:
            answered, _ = self._exchange("POST", self.callback_url, body, {"Content-Type": "application/json"}, "")
            if not 200 <= answered < 300:
                log.warning("a callback failed: %s answered %s", redact(self.callback_url), answered)
        except UploadError as error:
            log.warning("a callback failed%s", error)

    def _exchange(
        self, method: str, url: str, body: Any, headers: Mapping[str, str], what: str
    ) -> tuple[int, bytes]:
        try:
            return self.outside.exchange(method, url, body, headers)
        except Refused as refused:
            raise UploadError(f"{what}: {redact(url)} cannot be used: {refused}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise UploadError(f"{what}: {redact(url)} cannot be reached: {type(reason).__name__}") from None


class _Pieces:
    """A file's bytes, between two others, from the start each time they are asked for."""

    def __init__(self, file: Path, head: bytes = b"", tail: bytes = b"") -> None:
        self.file, self.head, self.tail = file, head, tail

    def __iter__(self) -> Iterator[bytes]:
        if self.head:
            yield self.head
        with self.file.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece
        if self.tail:
            yield self.tail


def _mapping(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = of.get(name)
    return found if isinstance(found, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
