"""A Celery worker that keeps a record of its own of what it ran, with the settings that the README recommends.

    RECORD=FILE CELERY_BROKER_URL=… PYTHONPATH=tests/support $SG_TEST_CELERY -A recording_worker worker -Q QUEUE …

| task | misc | does |
|---|---|---|
| record | sleep (0 s), gate (a file) | appends "begin UUID", waits for the file, sleeps, appends "end UUID", returns the uuid |

Each line is one `write` to a file opened for appending: whole, in order, and there even if the process is killed then.
EARLY_ACKS=1: acknowledged when taken, as Celery does unless told otherwise.
"""

import os
import time

from celery_worker import app, misc, number

app.conf.update(
    task_acks_late=os.environ.get("EARLY_ACKS") != "1",
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_track_started=True,
    # Brokers are killed all the time here.
    broker_connection_max_retries=None,
)

RECORD = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


@app.task(name="worker.record", bind=True)
def record(self, argument):
    values = misc(argument)
    os.write(RECORD, f"begin {self.request.id}\n".encode())
    while values.get("gate") and not os.path.exists(values["gate"]):
        time.sleep(0.02)
    time.sleep(number(values, "sleep", 0.0))
    os.write(RECORD, f"end {self.request.id}\n".encode())
    return self.request.id
