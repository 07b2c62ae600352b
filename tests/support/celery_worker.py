"""A plain Celery 5 worker for the tests. It knows nothing of the gateway but the message.

    CELERY_BROKER_URL=$SG_TEST_AMQP_URL PYTHONPATH=tests/support \\
        $SG_TEST_CELERY -A celery_worker worker -Q QUEUE --concurrency 2 -P prefork -n NAME@%h

(Without CELERY_BROKER_URL it takes SG_TEST_AMQP_URL.) The app is called "worker", so that each task is `worker.<name>`.
Results go to `reply_to` (rpc), persistent and confirmed, or to the backend that CELERY_RESULT_BACKEND names. A queue that
has arguments is named, with them, by CELERY_QUEUES: {"name": {"x-...": ...}}. Every task takes one positional argument:

    {"request_time", "service": {"type", "document": {"url", "credentials"}, "misc": {…}},
     "annotation_service": {"url", "uuid", "credentials"}}

What a task shall do stands in `misc`. A value may be text (it was a query argument) or a JSON value (it came in a body):
`number` and `listed` read both.

| task | misc | does |
|---|---|---|
| echo | | returns its argument |
| call | | returns what its Celery has read of the call |
| add_progress | steps (10,50,90), sleep (0.2 s each) or hold (files), version (1.2.3) | a PROGRESS a step, then a list with one annotation |
| fail | exc (ValueError), msg or args ([…]) | raises that exception class; `args` = [] raises it without arguments; exc = unpickleable: a class that Celery has to wrap; exc = exit: the process dies |
| retry | retries (1), countdown (0.5 s), reason (transient problem), gate | so many RETRYs, then {"attempt": n} |
| sleep | sleep (1 s), mark (a file), gate | STARTED; touches the file every 0.1 s until it is done, then {"slept": s} |
| custom_state | state (MYSTATE), end (ignore or success), gate | stores that state with {"a": 1}, and stays there or succeeds |
| huge | size (1000000) | returns a text of so many bytes |
| nan | | returns a float that JSON does not have |
| reject | run (0 s) | acknowledges late, says nothing, and rejects its message for good |
| reject_loudly | | the same, but its worker stores what it raised (since Celery 5.7) |

`gate` is a file: the task has told what it tells on its way, and waits until the file is there. `hold` is the beginning
of such a file's name, the step is its end. Both are the test's: where their directory is gone, nobody waits any more.

MINGLE_UNTIL: a worker that starts asks its neighbours what was revoked until they name these tasks (with commas between
them), for a minute at most. Celery gives them a second, in which a busy machine does not answer.
"""

import builtins
import json
import os
import socket
import sys
import time
from datetime import datetime, timezone

from celery import Celery
from celery.exceptions import Ignore, Reject
from kombu import Exchange, Queue

app = Celery(
    "worker",
    broker=os.environ.get("CELERY_BROKER_URL") or os.environ["SG_TEST_AMQP_URL"],
    backend=os.environ.get("CELERY_RESULT_BACKEND") or "rpc://",
)
app.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    result_persistent=True,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    # Redis may be away for a while in a test.
    result_backend_transport_options={"retry_policy": {"timeout": 60.0}},
)
QUEUES = json.loads(os.environ.get("CELERY_QUEUES") or "{}")
if QUEUES:
    app.conf.task_queues = [
        Queue(name, Exchange(name), routing_key=name, queue_arguments=arguments) for name, arguments in QUEUES.items()
    ]


def __getattr__(name):
    """Any capitalised name is an exception class of this module, made when first asked for.

    So `fail` can raise what workers raise (DownloadError, FFMpegError, …), and pickle finds the class in every process.
    """
    if not (name[:1].isupper() and name.isalnum()):
        raise AttributeError(name)
    kind = globals()[name] = type(name, (Exception,), {"__module__": __name__})
    return kind


if os.environ.get("MINGLE_UNTIL"):
    from celery.worker.consumer.mingle import Mingle

    ask_neighbours = Mingle.send_hello

    def ask_until_named(self, consumer):
        deadline, missing = time.monotonic() + 60, set(os.environ["MINGLE_UNTIL"].split(","))
        while True:
            replies = ask_neighbours(self, consumer)
            told = [(reply or {}).get("revoked") or () for reply in replies.values()]
            if missing.issubset(uuid for revoked in told for uuid in revoked) or time.monotonic() >= deadline:
                return replies

    Mingle.send_hello = ask_until_named


def misc(argument):
    """What the task shall do."""
    return argument["service"]["misc"] or {}


def pass_gate(file):
    """Waits for a file of a test's, if one is named, as long as that test goes on."""
    while file and not os.path.exists(file) and os.path.isdir(os.path.dirname(file)):
        time.sleep(0.02)


def number(values, key, default):
    """A number, or text that is one."""
    return type(default)(float(values.get(key, default)))


def listed(values, key, default):
    """A list: a JSON list, its text, or words between commas."""
    value = values.get(key, default)
    if not isinstance(value, str):
        return value
    return json.loads(value) if value.lstrip().startswith("[") else value.split(",")


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
    values = misc(argument)
    version = values.get("version", "1.2.3")
    start_time = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    for step in listed(values, "steps", [10, 50, 90]):
        meta = {
            "current": int(step),
            "total": 100,
            "worker_id_version": version,
            "start_time": start_time,
            "host": socket.gethostname(),
            "type": argument["service"]["type"],
        }
        self.update_state(state="PROGRESS", meta=meta)
        if values.get("hold"):
            pass_gate(f"{values['hold']}{int(step)}")
        else:
            time.sleep(number(values, "sleep", 0.2))
    return [{"@id": "progress", "@version": version, "text": "héllo ✓", "n": 42}]


@app.task(name="worker.fail")
def fail(argument):
    values = misc(argument)
    name = values.get("exc", "ValueError")
    if name == "exit":
        os._exit(1)
    if name == "unpickleable":
        kind = type("HiddenError", (Exception,), {"__module__": "nowhere"})
    else:
        kind = getattr(builtins, name, None) or getattr(sys.modules[__name__], name)
    raise kind(*(listed(values, "args", []) if "args" in values else [values.get("msg", "boom")]))


@app.task(name="worker.retry", bind=True, max_retries=None)
def retry(self, argument):
    values = misc(argument)
    if self.request.retries < number(values, "retries", 1):
        cause = ValueError(values.get("reason", "transient problem"))
        raise self.retry(exc=cause, countdown=number(values, "countdown", 0.5))
    pass_gate(values.get("gate"))
    return {"attempt": self.request.retries}


@app.task(name="worker.sleep", track_started=True)
def sleep(argument):
    values = misc(argument)
    seconds, mark = number(values, "sleep", 1.0), values.get("mark")
    pass_gate(values.get("gate"))
    started = time.monotonic()
    while (left := started + seconds - time.monotonic()) > 0:
        if mark:
            with open(mark, "w", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {time.time()}\n")
        time.sleep(min(left, 0.1))
    return {"slept": seconds}


@app.task(name="worker.custom_state", bind=True)
def custom_state(self, argument):
    values = misc(argument)
    self.update_state(state=values.get("state", "MYSTATE"), meta={"a": 1})
    pass_gate(values.get("gate"))
    if values.get("end", "ignore") == "success":
        return {"a": 2}
    raise Ignore()


@app.task(name="worker.huge")
def huge(argument):
    return "x" * number(misc(argument), "size", 1_000_000)


@app.task(name="worker.nan")
def nan(argument):
    return float("nan")


@app.task(name="worker.reject", acks_late=True, ignore_result=True)
def reject(argument):
    time.sleep(number(misc(argument), "run", 0.0))
    raise Reject("no", requeue=False)


@app.task(name="worker.reject_loudly", acks_late=True)
def reject_loudly(argument):
    raise Reject("no", requeue=False)
