"""Takes one task from a queue and reads it as Celery 5's worker does, without running it; prints what the worker knows.

    $SG_TEST_PYTHON tests/support/decode_task.py --url $SG_TEST_AMQP_URL --queue QUEUE --task worker.echo

The steps are `celery.worker.consumer.Consumer.create_task_handler` (which protocol is it?) and the default strategy of
`celery.worker.strategy`, run as they are, with a consumer that keeps the request. Output: a JSON object.
"""

import argparse
import json
import sys
from unittest.mock import MagicMock

from celery import Celery
from celery.worker import strategy
from kombu import Connection


def request(app, task, message):
    """The request that the worker would execute."""
    payload = None
    if "task" not in message.headers:  # protocol 1
        payload = message.decode()
    kept = []
    consumer = MagicMock(hostname="w@h", connection_errors=(OSError,), event_dispatcher=None, disable_rate_limits=True)
    consumer.on_task_request = kept.append
    consumer.controller.state.revoked = set()
    handle = strategy.default(task, app, consumer)
    name = message.headers.get("task") or payload["task"]
    if name != task.name:
        sys.exit(f"the worker does not know {name}")
    handle(message, payload, lambda *_: None, lambda *_: None, [])
    return kept[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--task", required=True, help="the name under which the worker has it")
    options = parser.parse_args()

    app = Celery("worker", broker=options.url, backend="rpc://")
    app.conf.accept_content = ["json"]

    @app.task(name=options.task)
    def task(argument):
        pass

    with Connection(options.url) as connection:
        channel = connection.default_channel
        message = channel.basic_get(options.queue)
        if message is None:
            sys.exit("the queue is empty")
        if not hasattr(message, "decode"):
            message = channel.message_to_python(message)
        message.accept = {"application/json"}
        req = request(app, app.tasks[options.task], message)
        args, kwargs, embed = req._payload
        told = {
            "name": req.name,
            "id": req.id,
            "root_id": req.root_id,
            "parent_id": req.parent_id,
            "args": args,
            "kwargs": kwargs,
            "embed": embed,
            "argsrepr": req.argsrepr,
            "reply_to": req.reply_to,
            "correlation_id": req.correlation_id,
            "time_limits": req.time_limits,
            "eta": req.eta,
            "expires": req.expires,
            "retries": req.request_dict.get("retries"),
            "ignore_result": req.ignore_result,
            "delivery_mode": message.properties.get("delivery_mode"),
            "protocol": 2 if "task" in message.headers else 1,
        }
        message.ack()
    json.dump(told, sys.stdout, default=str)


main()
