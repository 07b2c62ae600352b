"""Publishes what no worker should send to a reply queue.

    $SG_TEST_PYTHON tests/support/garbage.py --queue REPLY_QUEUE --correlation-id UUID --kind KIND

Kinds (`--kind list` prints them) are bodies that break one rule each; `raw` publishes standard input as it is. The
properties are a worker's (content_type application/json, content_encoding utf-8) unless an option says otherwise.
Goes to the default exchange, mandatory and confirmed: exit code 0 means that the queue has it, 1 that it has not.
"""

import argparse
import json
import os
import sys

import amqp
from kombu.utils.url import parse_url


def result(uuid, **changes):
    """A correct SUCCESS body for `uuid`, with changes; a key set to ... is left out."""
    body = {"status": "SUCCESS", "result": "fine", "traceback": None, "children": [], "task_id": uuid} | changes
    return json.dumps({key: value for key, value in body.items() if value is not ...}).encode()


# Kind -> (uuid, size) -> body, and the options that belong to it.
KINDS = {
    "not-json": (lambda uuid, size: b"\xff\xfe{ this is not JSON", {}),
    "truncated": (lambda uuid, size: result(uuid)[:-10], {}),
    "empty": (lambda uuid, size: b"", {}),
    "array": (lambda uuid, size: b"[1, 2, 3]", {}),
    "string": (lambda uuid, size: b'"SUCCESS"', {}),
    "null": (lambda uuid, size: b"null", {}),
    "deep": (lambda uuid, size: b"[" * 100_000 + b"]" * 100_000, {}),
    "nan": (lambda uuid, size: result(uuid, result=float("nan")), {}),
    "status-number": (lambda uuid, size: result(uuid, status=5), {}),
    "status-missing": (lambda uuid, size: result(uuid, status=...), {}),
    "status-huge": (lambda uuid, size: result(uuid, status="S" * 100_000), {}),
    "result-missing": (lambda uuid, size: result(uuid, result=...), {}),
    "failure-text": (lambda uuid, size: result(uuid, status="FAILURE", result="just text"), {}),
    "failure-types": (
        lambda uuid, size: result(uuid, status="FAILURE", result={"exc_type": 7, "exc_message": {"a": [None]}, "exc_module": []}),
        {},
    ),
    "progress-types": (lambda uuid, size: result(uuid, status="PROGRESS", result={"current": "many", "total": [], "host": 1}), {}),
    "task-id-wrong": (lambda uuid, size: result("00000000-0000-0000-0000-000000000000"), {}),
    "task-id-type": (lambda uuid, size: result(["a"]), {}),
    "huge": (lambda uuid, size: result(uuid, result="x" * size), {}),
    "no-correlation-id": (lambda uuid, size: result(uuid), {"correlation_id": None}),
    "long-correlation-id": (lambda uuid, size: result(uuid), {"correlation_id": "c" * 255}),
    "pickle": (lambda uuid, size: b"\x80\x04N.", {"content_type": "application/x-python-serialize", "content_encoding": "binary"}),
    "latin-1": (lambda uuid, size: b'{"status": "SUCCESS", "result": "caf\xe9"}', {"content_encoding": "iso-8859-1"}),
    "good": (lambda uuid, size: result(uuid), {}),  # so that a test can tell "refused" from "never came"
    "raw": (lambda uuid, size: sys.stdin.buffer.read(), {}),
}


def publish(url, queue, body, headers, properties):
    """True once the broker has confirmed that `queue` has the message."""
    parts = parse_url(url)
    with amqp.Connection(
        f"{parts['hostname']}:{parts['port'] or 5672}",
        userid=parts["userid"] or "guest",
        password=parts["password"] or "guest",
        virtual_host=parts["virtual_host"] or "/",
        confirm_publish=True,
        connect_timeout=10,
        read_timeout=30,
        write_timeout=30,
    ) as connection:
        channel = connection.channel()
        returned = []
        channel.events["basic_return"].add(lambda *reason: returned.append(reason))
        message = amqp.Message(body, application_headers=headers, **properties)
        channel.basic_publish(message, exchange="", routing_key=queue, mandatory=True)
        if returned:
            print(f"not routed: {returned[0]}", file=sys.stderr)
        return not returned


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("SG_TEST_AMQP_URL"), help="broker; default: $SG_TEST_AMQP_URL")
    parser.add_argument("--queue", help="the reply queue")
    parser.add_argument("--correlation-id", default="", help="the task's uuid; also task_id in the body")
    parser.add_argument("--kind", required=True, choices=[*KINDS, "list"], metavar="KIND")
    parser.add_argument("--size", type=int, default=2_000_000, help="huge: bytes of the result")
    parser.add_argument("--headers", type=json.loads, default={}, help="a JSON object")
    parser.add_argument("--content-type")
    parser.add_argument("--content-encoding")
    parser.add_argument("--delivery-mode", type=int, default=2)
    options = parser.parse_args()
    if options.kind == "list":
        print(*KINDS, sep="\n")
        return 0
    if not options.queue or not options.url:
        parser.error("--queue and --url are needed")
    make, own = KINDS[options.kind]
    properties = {
        "correlation_id": options.correlation_id or None,
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": options.delivery_mode,
        "priority": 0,
    } | own
    for name in ("content_type", "content_encoding"):
        properties[name] = getattr(options, name) or properties[name]
    properties = {name: value for name, value in properties.items() if value is not None}
    body = make(options.correlation_id, options.size)
    return 0 if publish(options.url, options.queue, body, options.headers, properties) else 1


if __name__ == "__main__":
    sys.exit(main())
