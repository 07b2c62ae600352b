"""Reaching out: documents in, annotations and files out.

URLs are strangers'. Where a policy does not say otherwise, no address of a private network is connected to: the address
that is judged is the one that is connected to, after the name was resolved, and again for every redirect. What is told
of a URL is told without credentials.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import logging
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from .exceptions import DownloadError

log = logging.getLogger(__name__)

#: Bytes that are moved at once.
CHUNK = 64 * 1024
#: How often a store is asked that does not answer in time.
TRIES = 5
#: The largest answer of a store that is read, in bytes.
ANSWER = 64 * 1024


def redact(url: str) -> str:
    """The URL without user, password, query and fragment.

    >>> redact("http://ann:secret@example.org:80/a?token=x#y")
    'http://example.org:80/a'
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(a URL that cannot be read)"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


@dataclass(frozen=True)
class Policy:
    """Which hosts may be reached."""

    #: Hosts that may be reached whatever their address.
    allow_hosts: frozenset[str] = field(default_factory=frozenset)
    #: Whether every address may be reached: loopback and private ones, too.
    allow_private_networks: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Policy:
        """``SERVICE_GATEWAY_ALLOW_HOSTS`` (by commas) and ``SERVICE_GATEWAY_ALLOW_PRIVATE_NETWORKS`` (``1``)."""
        hosts = environment.get("SERVICE_GATEWAY_ALLOW_HOSTS", "").split(",")
        private = environment.get("SERVICE_GATEWAY_ALLOW_PRIVATE_NETWORKS", "") in ("1", "true")
        return cls(frozenset(host.strip().lower() for host in hosts if host.strip()), private)

    def admits(self, host: str, address: str) -> bool:
        """Whether ``address``, which ``host`` was resolved to, may be connected to."""
        if self.allow_private_networks or host.lower().strip("[]") in self.allow_hosts:
            return True
        return _is_public(ipaddress.ip_address(address.partition("%")[0]))


#: IPv6 prefixes after which an IPv4 address stands, with the bits that follow it: mapped and translated (RFC 4291,
#: RFC 2765), NAT64 (RFC 6052), 6to4 (RFC 3056). They are judged by that address.
_EMBEDDING = (("::ffff:0:0/96", 0), ("::ffff:0:0:0/96", 0), ("64:ff9b::/96", 0), ("2002::/16", 80))


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it is one that everybody on the internet may reach anyway."""
    if address.version == 4:
        return address.is_global and not address.is_multicast
    for prefix, follows in _EMBEDDING:
        if address in ipaddress.IPv6Network(prefix):
            return _is_public(ipaddress.IPv4Address(int(address) >> follows & 0xFFFF_FFFF))
    # 2000::/3 is all global unicast there is; compatible (::127.0.0.1) and site-local addresses are outside of it.
    return address in ipaddress.IPv6Network("2000::/3") and address.is_global


class Refused(Exception):
    """The policy refuses the URL."""


class _Judged(http.client.HTTPConnection):
    policy: Policy

    def connect(self) -> None:
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        admitted = [entry for entry in found if self.policy.admits(self.host, str(entry[4][0]))]
        if not admitted:
            raise Refused(f"{self.host} is on a private network, and not among the hosts that are allowed")
        fault: OSError | None = None
        for family, kind, protocol, _, address in admitted:
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(self.timeout)
                connection.connect(address)
            except OSError as error:
                connection.close()
                fault = error
                continue
            self.sock = connection
            return
        assert fault is not None  # there was at least one address
        raise fault


class _JudgedTls(_Judged):
    default_port = 443
    context = ssl.create_default_context()

    def connect(self) -> None:
        super().connect()
        self.sock = self.context.wrap_socket(self.sock, server_hostname=self.host)


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.http = type("Judged", (_Judged,), {"policy": policy})
        self.https = type("JudgedTls", (_JudgedTls,), {"policy": policy})

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self.http, req)

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self.https, req)


class _Redirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: urllib.request.Request, *answer: Any) -> urllib.request.Request | None:
        following = super().redirect_request(req, *answer)
        if following is not None and urlsplit(following.full_url)[:2] != urlsplit(req.full_url)[:2]:
            following.remove_header("Authorization")  # meant for the first host alone
        return following


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Outside:
    """Fetches and hands in, as the policy lets it."""

    policy: Policy
    #: Seconds for a connection, and without a byte from the other side.
    timeout: float = 30.0
    #: How often what may pass (no connection, a time-out, a 5xx answer) is tried again.
    retries: int = 3
    #: Seconds before the first further try; doubled for each.
    back_off: float = 0.5

    def _open(self, url: str, *, redirects: bool, **request: Any) -> Any:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused("its scheme is neither http nor https, or it has no host")
        headers = {"User-Agent": "service-gateway-worker", **request.pop("headers", {})}
        if parts.username is not None:
            word = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(word).decode()
            url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        # No proxy: through one, addresses could not be judged.
        opener = urllib.request.OpenerDirector()
        opener.add_handler(_Handler(self.policy))
        opener.add_handler(_Redirect() if redirects else _NoRedirect())
        for kind in ("HTTPDefaultErrorHandler", "HTTPErrorProcessor", "UnknownHandler"):
            opener.add_handler(getattr(urllib.request, kind)())
        asked = urllib.request.Request(quote(url, safe=":/?#[]@!$&'()*+,;=%~-._"), headers=headers, **request)
        return opener.open(asked, timeout=self.timeout)

    def download(self, url: str, to: Path, max_bytes: int, deadline: float) -> None:
        """Streams the document at ``url`` into the file ``to``, before ``deadline`` (as of ``time.monotonic``).

        Raises :class:`~.exceptions.DownloadError`.
        """
        shown = redact(url)
        for failed in range(self.retries + 1):
            try:
                return self._once(url, to, max_bytes, deadline)
            except Refused as refused:
                raise DownloadError(f"{shown} cannot be fetched: {refused}") from None
            except urllib.error.HTTPError as error:
                fault = f"{shown} cannot be fetched: the server answered {error.code}"
                if error.code < 500:
                    raise DownloadError(fault) from None
            except (OSError, http.client.HTTPException) as error:
                if isinstance(getattr(error, "reason", None), Refused):
                    raise DownloadError(f"{shown} cannot be fetched: {error.reason}") from None  # type: ignore[attr-defined]
                reason = getattr(error, "reason", error)
                fault = f"{shown} cannot be fetched: {type(reason).__name__}"
            wait = self.back_off * 2**failed
            if failed == self.retries or time.monotonic() + wait >= deadline:
                raise DownloadError(fault) from None
            log.info("%s: tried again in %s s", fault, wait)
            time.sleep(wait)

    def _once(self, url: str, to: Path, max_bytes: int, deadline: float) -> None:
        too_large = DownloadError(f"{redact(url)} is larger than {max_bytes} bytes")
        with self._open(url, redirects=True) as answer, to.open("wb") as file:
            told = answer.headers.get("Content-Length", "")
            if told.isdigit() and int(told) > max_bytes:
                raise too_large
            came = 0
            while chunk := answer.read1(CHUNK):
                came += len(chunk)
                if came > max_bytes:
                    raise too_large
                if time.monotonic() > deadline:
                    raise DownloadError(f"{redact(url)} did not come before its deadline")
                file.write(chunk)
            if told.isdigit() and came < int(told):
                raise http.client.IncompleteRead(b"")

    def exchange(
        self, method: str, url: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """One request, asked up to five times if there is no answer in time; gives status and body.

        Raises ``OSError`` without an answer, and :class:`Refused`.
        """
        for failed in range(TRIES):
            try:
                with self._open(url, redirects=False, data=body, method=method, headers=dict(headers)) as answer:
                    return answer.status, answer.read(ANSWER)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, b""
            except urllib.error.URLError as error:
                if isinstance(error.reason, Refused):
                    raise error.reason from None
                if not isinstance(error.reason, TimeoutError) or failed + 1 == TRIES:
                    raise
            except TimeoutError:
                if failed + 1 == TRIES:
                    raise
            time.sleep(self.back_off * 2**failed)
        raise AssertionError("the last try returns or raises")
