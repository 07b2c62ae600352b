# -*- coding: utf-8 -*-
"""A Celery 3.1 or 4.3 worker with the amqp result backend, for Python 2.7 and 3.6. As celery_worker.py, with fewer tasks.

    CELERY_BROKER_URL=... PYTHONPATH=tests/support $SG_TEST_CELERY_43 worker -A old_worker -Q QUEUE ...

| task | misc | does |
|---|---|---|
| echo | | returns its argument |
| call | | returns what its Celery has read of the call |
| add_progress | hold (files) | PROGRESS 10, 50 and 90, then a list with one annotation |
| fail | msg (boom) | raises DownloadError |
| sleep | sleep (1 s), gate (a file) | STARTED, then {"slept": s} |

`hold` and `gate` are as in celery_worker.py.
"""

import os
import time

import celery

app = celery.Celery("worker", broker=os.environ["CELERY_BROKER_URL"], backend="amqp")
if celery.__version__ < "4":
    app.conf.update(CELERY_TASK_SERIALIZER="json", CELERY_RESULT_SERIALIZER="json", CELERY_ACCEPT_CONTENT=["json"])
else:
    app.conf.update(task_serializer="json", result_serializer="json", accept_content=["json"])


class DownloadError(Exception):
    """As workers raise it."""


def misc(argument):
    return argument["service"]["misc"] or {}


def pass_gate(name):
    while name and not os.path.exists(name) and os.path.isdir(os.path.dirname(name)):
        time.sleep(0.02)


@app.task(name="worker.echo")
def echo(argument):
    return argument


@app.task(name="worker.call", bind=True)
def call(self, argument):
    request = self.request
    return {
        "name": self.name,
        "id": request.id,
        "args": list(request.args),
        "kwargs": request.kwargs,
        "retries": request.retries,
        "eta": request.eta,
        "expires": request.expires,
        "timelimit": list(request.timelimit or [None, None]),
        "correlation_id": request.correlation_id,
        "reply_to": request.reply_to,
        "callbacks": request.callbacks,
        "errbacks": request.errbacks,
        "chord": request.chord,
        "argument": argument,
    }


@app.task(name="worker.add_progress", bind=True)
def add_progress(self, argument):
    for step in (10, 50, 90):
        meta = {
            "current": step,
            "total": 100,
            "worker_id_version": "1.2.3",
            "start_time": "2026-01-02T03:04:05",
            "host": "localhost",
            "type": argument["service"]["type"],
        }
        self.update_state(state="PROGRESS", meta=meta)
        if misc(argument).get("hold"):
            pass_gate("%s%d" % (misc(argument)["hold"], step))
    return [{"@id": "prog_annotation", "@version": "1.2.3", "text": u"h\u00e9llo \u2713", "n": 42}]


@app.task(name="worker.fail")
def fail(argument):
    raise DownloadError(misc(argument).get("msg", "boom"))


@app.task(name="worker.sleep", track_started=True)
def sleep(argument):
    seconds = float(misc(argument).get("sleep", 1.0))
    pass_gate(misc(argument).get("gate"))
    time.sleep(seconds)
    return {"slept": seconds}
