"""What stands around the gateway in the recordings, on one loopback port: documents (`GET`, 404 where `missing` is in the
path), the annotation store (`POST /document/...`, slow enough that STORING is seen) and callbacks (`POST`). Prints its port,
and ends with its standard input."""

import http.server
import sys
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if "missing" in self.path:
            self.answer(404, b"no")
        else:
            self.answer(200, b"hello document\n")

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/document/"):
            time.sleep(1.5)
            if "bad" in self.path:
                return self.answer(500, b"store error")
            return self.answer(200, b'{"id": "x", "nb_annotations": 1}', "application/json")
        self.answer(200, b"OK")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
