"""A document server, storage service, annotation store and callback sink, on the loopback."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Seen:
    line: str
    headers: dict
    body: bytes


class Server:
    """Answers with what ``answer`` gives for a :class:`Seen`: status, headers, body."""

    def __init__(self, answer: Callable[[Seen], tuple]) -> None:
        seen = self.seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                one = Seen(f"{self.command} {self.path}", dict(self.headers), body)
                seen.append(one)
                status, headers, content = answer(one)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PUT = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str) -> str:
        return f"http://ann:pa55@127.0.0.1:{self.port}{path}"

    def lines(self) -> list:
        return [one.line for one in self.seen]
