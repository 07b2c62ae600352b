import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from service_gateway_worker import Policy, Request, exceptions
from service_gateway_worker.outside import redact

from .server import Server

OPEN = Policy(allow_hosts=frozenset({"127.0.0.1"}))


def request(document=None, annotations=None, misc=None, **options):
    argument = {
        "service": {"type": "words", "document": {"url": document}, "misc": misc or {}},
        "annotation_service": {"url": annotations},
    }
    made = Request(argument, task_id="1", version="1.0", **{"policy": OPEN, **options})
    made.outside.back_off, made.outside.retries = 0.01, 2
    return made


class Documents(unittest.TestCase):
    def test_it_comes_once_and_goes_with_the_request(self):
        with Server(lambda _: (200, {}, b"hello")) as server, request(server.url("/a/talk.WAV?x=y.z")) as asked:
            path = asked.document()
            self.assertEqual((path.read_text(), path.name), ("hello", "document.WAV"))
            self.assertEqual(asked.document(), path)
            self.assertEqual(server.lines(), ["GET /a/talk.WAV?x=y.z"])
            self.assertEqual(server.seen[0].headers["Authorization"], "Basic YW5uOnBhNTU=")
        self.assertFalse(path.parent.exists())

    def refused(self, asked, text, **limits):
        with asked, self.assertRaises(exceptions.DownloadError) as raised:
            asked.document(**limits)
        self.assertIn(text, str(raised.exception))
        self.assertNotIn("pa55", str(raised.exception))

    def test_limits(self):
        with Server(lambda _: (200, {}, b"hello")) as server:
            self.refused(request(server.url("/a")), "larger than 4 bytes", max_bytes=4)
            self.refused(request(server.url("/a")), "deadline", max_seconds=-1)
        with Server(lambda _: (200, {"Content-Length": "9"}, b"cut")) as server:
            self.refused(request(server.url("/a")), "IncompleteRead")
            self.assertEqual(len(server.seen), 3, "tried again")

    def test_4xx_is_final_and_5xx_is_tried_again(self):
        with Server(lambda _: (404, {}, b"")) as server:
            self.refused(request(server.url("/a")), "404")
            self.assertEqual(len(server.seen), 1)
        answers = iter([503, 503, 200])
        with Server(lambda _: (next(answers), {}, b"x")) as server, request(server.url("/a")) as asked:
            self.assertEqual(asked.document().read_bytes(), b"x")

    def test_the_inside_is_refused_in_every_disguise(self):
        with Server(lambda _: (200, {}, b"secret")) as server:
            for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"):
                url = f"http://ann:pa55@{host}:{server.port}/x"
                self.refused(request(url, policy=Policy()), "")
            self.assertEqual(server.seen, [])
            # A server outside must not lead us inside.
            with Server(lambda _: (302, {"Location": f"http://localhost:{server.port}/x"}, b"")) as leads:
                self.refused(request(leads.url("/x")), "private network")
            self.assertEqual(server.seen, [])
        for url in ("ftp://example.org/x", "file:///etc/passwd", "http://", "http://[/x"):
            self.refused(request(url), "")
        for host, address, admitted in (
            ("h", "93.184.216.34", True),
            ("h", "10.0.0.1", False),
            ("h", "169.254.169.254", False),
            ("h", "::1", False),
            ("h", "fe80::1%eth0", False),
            ("h", "2606:2800:220:1::1", True),
            ("h", "2002:7f00:1::", False),
            ("h", "224.0.0.1", False),
            ("h", "::127.0.0.1", False),
            ("h", "::ffff:0:10.0.0.1", False),
            ("h", "64:ff9b::7f00:1", False),
            ("h", "64:ff9b::808:808", True),
            ("h", "2002:808:808::1", True),
            ("h", "fec0::1", False),
            ("h", "4000::1", False),
        ):
            self.assertEqual(Policy().admits(host, address), admitted, address)
        environment = {"SERVICE_GATEWAY_ALLOW_HOSTS": "Store, other"}
        self.assertTrue(Policy.from_environment(environment).admits("store", "10.0.0.1"))

    def test_a_redirect_to_another_host_gets_no_password(self):
        with Server(lambda _: (200, {}, b"x")) as other:
            plain = f"http://127.0.0.1:{other.port}/y"
            with Server(lambda _: (302, {"Location": plain}, b"")) as server, request(server.url("/x")) as asked:
                asked.document()
            self.assertNotIn("Authorization", other.seen[0].headers)

    def test_none(self):
        with request() as asked, self.assertRaises(exceptions.MissingParameterError):
            asked.document()
        self.assertEqual(redact("http://a:b@h:1/p?q#f"), "http://h:1/p")


class Progress(unittest.TestCase):
    def test_it_rises_and_has_the_standard_meta(self):
        told = []
        asked = request(report=lambda state, meta: told.append((state, meta)))
        for done in (10, 5, math.nan, 200, 100):
            asked.set_progress(done)
        asked.set_progress(1, 0)
        self.assertEqual([(state, meta["current"]) for state, meta in told], [("PROGRESS", 10), ("PROGRESS", 100)])
        meta = told[0][1]
        self.assertEqual((meta["total"], meta["worker_id_version"], meta["type"]), (100, "1.0", "words"))
        self.assertRegex(meta["start_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$")
        self.assertTrue(meta["host"])
        asked = request(report=lambda state, meta: told.append(meta["current"]))
        asked.set_progress(1, 3)
        self.assertEqual(told[-1], 33)

    def test_arguments(self):
        asked = request(misc={"a": "1", "b": "", "n": 0})
        self.assertEqual(asked.require("a", "n"), ["1", 0])
        self.assertEqual((asked.get("a"), asked.get("c", 7)), ("1", 7))
        with self.assertRaisesRegex(exceptions.MissingParameterError, "give b, c"):
            asked.require("a", "b", "c")


class Stores(unittest.TestCase):
    def test_annotations(self):
        told = []
        with Server(lambda _: (201, {}, b"")) as server:
            asked = request(annotations=server.url("/doc?storageType=2"), report=lambda *one: told.append(one[0]))
            asked.store_annotations([{"@id": "a", "@version": "2"}, {"start": 1.5}])
            one = server.seen[0]
        self.assertEqual((one.line, one.headers["Accept"]), ("POST /doc?storageType=2", "application/json"))
        data = [{"@id": "a", "@version": "2"}, {"@id": "words", "@version": "1.0", "start": 1.5}]
        self.assertEqual(json.loads(one.body), {"common": {}, "data": data})
        self.assertEqual(told, ["STORING"])

    def test_annotations_that_are_none(self):
        for wrong in ("text", {"a": 1}, [1], [{"@id": 7}], [{"x": math.nan}], [{"x": object()}], None):
            with self.assertRaises(exceptions.InvalidAnnotationFormat):
                request().store_annotations(wrong)
        request().store_annotations([{}])
        with Server(lambda _: (500, {}, b"")) as server, self.assertRaisesRegex(exceptions.UploadError, "500"):
            request(annotations=server.url("/a")).store_annotations([])
        # A redirect is no success, and the inside is the inside.
        with Server(lambda _: (302, {"Location": "/b"}, b"")) as server:
            with self.assertRaisesRegex(exceptions.UploadError, "302"):
                request(annotations=server.url("/a")).store_annotations([])
            with self.assertRaisesRegex(exceptions.UploadError, "private network"):
                request(annotations=server.url("/a"), policy=Policy()).store_annotations([])
            self.assertEqual(len(server.seen), 1)

    def test_files_go_to_the_storage_service_or_the_gateway(self):
        def answer(one):
            if one.line.startswith("GET /add"):
                place = {"storage_doc_id": "7.txt", "upload_url": f"http://127.0.0.1:{server.port}/put"}
                return 200, {}, json.dumps(place).encode()
            return (201, {}, b"http://gateway/temporary_file/x.txt") if "temporary" in one.line else (200, {}, b"")

        with Server(answer) as server, request(misc={"upload_url": server.url("/add?x=1")}) as asked:
            file = Path(asked.directory, "a b.txt")
            file.write_text("content")
            self.assertEqual(asked.upload(file), {"name": "a b.txt", "storage_doc_id": "7.txt"})
            self.assertEqual(server.lines(), ["GET /add?x=1&filename=a%20b.txt", "PUT /put"])
            self.assertEqual(server.seen[1].body, b"content")
            with request(gateway_url=server.url("/base/"), shared_key="k") as other:
                kept = {"name": "a b.txt", "url": "http://gateway/temporary_file/x.txt"}
                self.assertEqual(other.upload(file), kept)
            posted = server.seen[2]
            self.assertEqual((posted.line, posted.headers["X-Service-Key"]), ("POST /base/temporary_file", "k"))
            self.assertIn(b'filename="file.txt"', posted.body)
            self.assertIn(b"\r\n\r\ncontent\r\n--", posted.body)
            with self.assertRaisesRegex(exceptions.UploadError, "SERVICE_GATEWAY_URL"):
                request(gateway_url="").upload(file)

    def test_callbacks_harm_nothing(self):
        with Server(lambda _: (500, {}, b"")) as server:
            with self.assertLogs("service_gateway_worker", "WARNING") as logs:
                request(misc={"callback_url": server.url("/c")}).call_back("SUCCESS")
            self.assertEqual(json.loads(server.seen[0].body), {"uuid": "1", "status": "SUCCESS"})
        with self.assertLogs("service_gateway_worker", "WARNING") as more:
            request(misc={"callback_url": "http://127.0.0.1:1/c?k=pa55"}).call_back("FAILURE")
        self.assertNotIn("pa55", str(logs.output + more.output))
        with socket.create_server(("127.0.0.1", 0)) as server, self.assertLogs("service_gateway_worker", "WARNING"):
            threading.Thread(target=lambda: server.accept()[0].sendall(b"no HTTP\r\n\r\n"), daemon=True).start()
            url = f"http://127.0.0.1:{server.getsockname()[1]}/c"
            request(misc={"callback_url": url}).call_back("SUCCESS")


class Directories(unittest.TestCase):
    def test_what_a_killed_task_left_goes_with_the_next(self):
        make = "from service_gateway_worker import directories as d; print(d.make()[0], flush=True); input()"
        with tempfile.TemporaryDirectory() as place, mock.patch.object(tempfile, "tempdir", place):
            environment = {**os.environ, "TMPDIR": place}
            with subprocess.Popen(
                [sys.executable, "-c", make], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as other:
                theirs = Path(other.stdout.readline().strip())
                os.utime(theirs, (0, 0))
                with request() as asked:
                    mine = asked.directory
                    self.assertTrue(theirs.is_dir() and mine.is_dir(), "both are at work")
                other.kill()
            with request() as asked:
                self.assertTrue(asked.directory.is_dir())
                self.assertFalse(theirs.exists() or mine.exists())
