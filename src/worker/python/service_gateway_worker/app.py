"""From a function to a Celery task that the gateway understands."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery, Task, states
from kombu import Exchange, Queue

from .outside import Policy
from .request import Request

Function = Callable[[Request], Any]


class _CallsBack(Task):
    """Calls back once, after the result was handed over: who is called finds it. Not for a try that will be made again."""

    abstract = True
    policy: Policy | None = None

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        super().after_return(status, retval, task_id, args, kwargs, einfo)
        argument = next(iter(args), kwargs.get("argument"))
        if status in (states.SUCCESS, states.FAILURE) and isinstance(argument, Mapping):
            Request(argument, task_id=task_id, policy=self.policy).call_back(status)


def make_app(name: str = "worker", **settings: Any) -> Celery:
    """A Celery application with the settings that the gateway's README recommends; ``settings`` come on top.

    ``name`` is the gateway's ``broker.app``. The broker is ``broker_url``, or the variable ``CELERY_BROKER_URL``.
    """
    app = Celery(name)
    app.conf.update(
        result_backend="rpc://",
        result_persistent=True,
        broker_transport_options={"confirm_publish": True},
        broker_connection_retry_on_startup=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_track_started=True,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_queues=[],
    )
    app.conf.update(settings)
    return app


def service(
    app: Celery,
    name: str,
    *,
    version: str = "",
    queue: str | None = None,
    queue_arguments: Mapping[str, Any] | None = None,
    required: tuple[str, ...] = (),
    policy: Policy | None = None,
    **options: Any,
) -> Callable[[Function], Task]:
    """Makes a function of a :class:`Request` the task ``<app>.<name>``; what it returns (JSON) is the result.

    ``version`` is what the gateway's ``[services.X] version`` is compared with; ``queue`` (default: ``name``) and
    ``queue_arguments`` are as there; ``required`` arguments are looked for before the function is called. ``options``
    are Celery's own, ``time_limit`` for instance.
    """
    queue = queue or name
    if all(known.name != queue for known in app.conf.task_queues or []):
        # As the gateway declares it: durable; other arguments would be refused by the broker.
        made = Queue(queue, Exchange(queue), routing_key=queue, queue_arguments=dict(queue_arguments or {}) or None)
        app.conf.task_queues = [*(app.conf.task_queues or []), made]

    def decorate(function: Function) -> Task:
        @functools.wraps(function)
        def run(task: Task, argument: Mapping[str, Any]) -> Any:
            def report(state: str, meta: dict[str, Any]) -> None:
                task.update_state(state=state, meta=meta)

            request = Request(argument, task_id=task.request.id or "", version=version, report=report, policy=policy)
            with request:
                request.require(*required)
                return function(request)

        if not run.__name__.isidentifier():
            run.__name__ = "run"  # a lambda; Celery makes code of the name
        base = options.pop("base", None) or app.Task
        told = type("Told", (_CallsBack, base), {"abstract": True, "policy": policy})
        made = app.task(bind=True, base=told, name=f"{app.main}.{name}", **options)(run)
        # For `testing.try_out`.
        made.service = {"function": function, "version": version, "required": required, "type": name}
        return made

    return decorate
