"""The stub that comes with the published package VestaService, as its users run it: on Python 2 with the Celery that it
asks for (results by amqp), or on a current Python with a current Celery (results by rpc).

    CELERY_BROKER_URL=... PYTHONPATH=tests/support celery -A vesta_worker worker -Q QUEUE ...
"""

import os

import celery
from VestaService.stub import APP as app

app.conf.update(
    broker_url=os.environ["CELERY_BROKER_URL"],
    result_backend="amqp" if celery.__version__ < "5" else "rpc://",
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
)
