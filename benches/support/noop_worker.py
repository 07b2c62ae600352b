"""A Celery worker that does nothing, for benches/worker.rs.

    CELERY_BROKER_URL=… PYTHONPATH=benches/support celery -A noop_worker worker -Q QUEUE -P prefork --concurrency 2

With BENCH_SETTINGS=recommended it is set as the README recommends, else as Celery comes.
"""

import os

from celery import Celery

app = Celery("worker", backend="rpc://")
if os.environ.get("BENCH_SETTINGS") == "recommended":
    app.conf.update(
        result_persistent=True,
        broker_transport_options={"confirm_publish": True},
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_track_started=True,
    )


@app.task(name="worker.noop")
def noop(argument):
    return None
