import json
import tempfile
import unittest
from pathlib import Path

from service_gateway_worker import Request, exceptions, make_app, service
from service_gateway_worker.outside import Policy
from service_gateway_worker.testing import try_out

from .server import Server

app = make_app("worker")


@service(app, "words", version="1.0", required=("language",), time_limit=60)
def words(request: Request) -> dict:
    """Counts."""
    request.set_progress(50)
    request.store_annotations([{"n": 1}])
    return {"words": len(request.document().read_text().split()), "language": request.get("language")}


@service(app, "quick", policy=Policy(allow_private_networks=True))
def quick(request: Request) -> None:
    if request.get("fail"):
        raise ValueError("asked to")


class App(unittest.TestCase):
    def test_a_task_as_the_gateway_calls_it(self):
        self.assertEqual((words.name, words.time_limit, words.__doc__), ("worker.words", 60, "Counts."))
        queue = app.conf.task_queues[0]
        self.assertEqual((queue.name, queue.durable, queue.queue_arguments), ("words", True, None))
        self.assertTrue(app.conf.task_acks_late and app.conf.result_persistent)

    def test_trying_it_out(self):
        with tempfile.TemporaryDirectory() as directory:
            document = Path(directory, "a.txt")
            document.write_text("as many as these")
            tried = try_out(words, document, language="fr")
            self.assertTrue(document.exists())
        self.assertEqual(tried.result, {"words": 4, "language": "fr"})
        self.assertEqual([state for state, _ in tried.states], ["PROGRESS"])
        with self.assertRaisesRegex(exceptions.MissingParameterError, "language"):
            try_out(words)

    def test_callbacks_come_once_and_after_the_result(self):
        with Server(lambda _: (200, {}, b"")) as server:
            misc = {"callback_url": server.url("/c"), "language": "fr"}
            argument = {"service": {"type": "quick", "misc": misc}}
            quick.run(argument)
            self.assertEqual(server.seen, [], "the function's end is not yet the task's")
            quick.apply([argument], task_id="1")
            misc["fail"] = True
            quick.apply(kwargs={"argument": argument}, task_id="2")
        told = [json.loads(one.body) for one in server.seen]
        self.assertEqual(told, [{"uuid": "1", "status": "SUCCESS"}, {"uuid": "2", "status": "FAILURE"}])

    def test_quorum_queues_and_shared_ones(self):
        other = make_app("other")
        for name in ("a", "b"):
            service(other, name, queue="q", queue_arguments={"x-queue-type": "quorum"})(lambda request: None)
        (queue,) = other.conf.task_queues
        self.assertEqual(queue.queue_arguments, {"x-queue-type": "quorum"})

    def test_every_exception_has_its_code(self):
        codes = {kind.__name__: kind.code for kind in exceptions.WorkerError.__subclasses__()}
        self.assertEqual((codes["MissingParameterError"], codes["DownloadError"], codes["SubprocessError"]), (206, 301, 642))
        self.assertEqual(len(set(codes.values())), len(codes))
