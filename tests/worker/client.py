"""A real Celery client, for tests of `service-gateway worker`.

    CELERY_BROKER_URL=… SG_TEST_DIRECTORY=… python client.py SCENARIO QUEUE WORKER

The service runs the shell script in `service.misc.do`. Each function below is a scenario; it fails by an exception.
"""

import os
import socket
import sys
import threading
import time
import uuid

from celery import Celery
from celery.exceptions import NotRegistered, TaskRevokedError, TimeLimitExceeded

_, SCENARIO, QUEUE, WORKER = sys.argv
NODE = f"{WORKER}@{socket.gethostname()}"
DIRECTORY = os.environ["SG_TEST_DIRECTORY"]
PATIENCE = 40

app = Celery("worker", broker=os.environ["CELERY_BROKER_URL"], backend="rpc://")


def argument(do):
    return {
        "request_time": "2026-01-02T03:04:05",
        "service": {"type": "stub", "document": {"url": None, "credentials": None}, "misc": {"do": do}},
        "annotation_service": {"url": None, "credentials": None, "uuid": None},
    }


def send(do, name="worker.stub", args=None, **options):
    return app.send_task(name, args=[argument(do)] if args is None else args, queue=QUEUE, **options)


def get(result):
    return result.get(timeout=PATIENCE)


def raises(kind, result, text=""):
    try:
        value = get(result)
    except Exception as error:
        assert type(error).__name__ == kind, repr(error)
        assert text in str(error), repr(error)
        return error
    raise AssertionError(f"no {kind}, but {value!r}")


def until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not in time: {what}")


def inspect():
    """Returns as soon as the worker has answered."""
    return app.control.inspect([NODE], timeout=PATIENCE)


def results():
    assert get(send("echo 7")) == 7
    assert get(send("echo text")) == "text"
    assert get(send("echo [1,2]")) == [1, 2]
    assert get(send("true")) is None


def left_out():
    """Nobody takes the first one's result, and nobody runs what the second one asks for afterwards."""
    send("echo 7", reply_to=str(uuid.uuid4()))
    assert get(send("echo 8", link=app.signature("worker.other"))) == 8


def protocol_1():
    app.conf.task_protocol = 1
    assert get(send("echo 7")) == 7
    raises("SubprocessError", send("exit 3"), "exit status 3")
    started = time.monotonic()
    assert get(send("echo 8", countdown=2)) == 8
    assert time.monotonic() - started >= 2
    raises("NotRegistered", send("", name="worker.nobody"), "worker.nobody")


def failures():
    # One retry is configured: RETRY, then FAILURE.
    result = send("echo why >&2; exit 3")
    error = raises("SubprocessError", result, "exit status 3: why")
    assert result.state == "FAILURE", result.state
    assert isinstance(error, Exception)
    error = raises("TypeError", send("", args=[]), "takes 1 positional argument")
    assert isinstance(error, TypeError)


def not_registered():
    error = raises("NotRegistered", send("", name="worker.nobody"), "worker.nobody")
    assert isinstance(error, NotRegistered)


def too_late():
    """A task that is not to be begun before it expires. (One that has expired is dropped by the broker itself.)"""
    return send("echo 1", countdown=6, expires=5)


def expires():
    error = raises("TaskRevokedError", too_late(), "expired")
    assert isinstance(error, TaskRevokedError)
    assert get(send("echo 1", expires=3600)) == 1


def eta():
    # Long enough to be seen while it waits, on a busy machine too.
    started = time.monotonic()
    result = send("echo 1", countdown=12)
    scheduled = until("it is scheduled", lambda: (inspect().scheduled() or {}).get(NODE))
    assert [task["request"]["id"] for task in scheduled] == [result.id], scheduled
    assert get(result) == 1
    assert time.monotonic() - started >= 12, time.monotonic() - started
    # Revoked while it waits: never begun.
    result = send("echo 1", countdown=12)
    until("it is scheduled", lambda: (inspect().scheduled() or {}).get(NODE))
    result.revoke()
    raises("TaskRevokedError", result, "revoked")
    with open(f"{DIRECTORY}/began", encoding="utf-8") as file:
        assert result.id not in file.read()


def time_limit():
    error = raises("TimeLimitExceeded", send("sleep 60", time_limit=1, retries=1), "1s")
    assert isinstance(error, Exception) and TimeLimitExceeded.__name__ == type(error).__name__


def states():
    seen = []
    script = "echo progress: 50 >&2; sleep 1; echo 7"
    send(script).get(timeout=PATIENCE, on_message=lambda message: seen.append(message))
    names = [message["status"] for message in seen]
    assert names == ["STARTED", "PROGRESS", "SUCCESS"], names
    assert seen[0]["result"]["hostname"] == NODE, seen[0]
    assert set(seen[2]) >= {"status", "result", "traceback", "children", "task_id", "date_done"}, seen[2]


def inspect_():
    i = inspect()
    assert i.ping() == {NODE: {"ok": "pong"}}, i.ping()
    assert i.registered() == {NODE: ["worker.stub"]}
    queues = i.active_queues()[NODE]
    assert [queue["name"] for queue in queues] == [QUEUE], queues
    held = "until [ -e %s/go ]; do sleep 0.05; done; echo 1" % DIRECTORY
    both = [send(held), send(held)]
    active = until("both run", lambda: (lambda tasks: len(tasks) == 2 and tasks)(i.active()[NODE]))
    assert {task["id"] for task in active} == {result.id for result in both}, active
    for task in active:
        assert task["name"] == "worker.stub" and task["hostname"] == NODE, task
        assert task["delivery_info"]["routing_key"] == QUEUE and task["time_start"] <= time.time(), task
    stats = i.stats()[NODE]
    assert stats["total"] == {"worker.stub": 2}, stats
    assert stats["pool"]["max-concurrency"] == 2 and stats["pid"] > 0 and stats["uptime"] >= 0, stats
    assert (i.reserved(), i.scheduled()) == ({NODE: []}, {NODE: []})
    query = i.query_task(both[0].id)[NODE][both[0].id]
    assert query[0] == "active" and query[1]["id"] == both[0].id, query
    assert i.conf()[NODE]["task_acks_late"] is True
    assert i.clock()[NODE]["clock"] > 0
    assert "error" in app.control.broadcast("no_such", reply=True, timeout=PATIENCE, destination=[NODE])[0][NODE]
    assert app.control.ping(timeout=2, destination=["nobody@nowhere"]) == []
    with open(f"{DIRECTORY}/go", "w", encoding="utf-8"):
        pass
    assert [get(result) for result in both] == [1, 1]


def revoke():
    running = send("sleep 300")
    until("it runs", lambda: [task for task in inspect().active()[NODE] if task["id"] == running.id])
    waiting = send("echo 1")
    # Without terminate what runs goes on.
    answers = app.control.revoke([running.id, waiting.id], reply=True, timeout=PATIENCE, destination=[NODE])
    assert "flagged as revoked" in answers[0][NODE]["ok"], answers
    assert inspect().active()[NODE][0]["id"] == running.id
    app.control.revoke(running.id, terminate=True, signal="SIGKILL")
    error = raises("TaskRevokedError", running, "terminated")
    assert isinstance(error, TaskRevokedError)
    raises("TaskRevokedError", waiting, "revoked")
    # Other workers at this broker may have told of more.
    assert set(inspect().revoked()[NODE]) >= {running.id, waiting.id}
    print(running.id)
    print(waiting.id)


def events():
    got = []

    def listen():
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": got.append})
            receiver.capture(limit=None, timeout=PATIENCE, wakeup=False)

    threading.Thread(target=listen, daemon=True).start()
    ours = lambda kind: [event for event in list(got) if event["type"] == kind and event["hostname"] == NODE]
    beat = until("a heartbeat", lambda: ours("worker-heartbeat"))[-1]
    assert beat["freq"] == 2.0 and {"active", "processed", "sw_ident", "sw_ver", "sw_sys", "clock"} <= set(beat), beat
    fine, fails = send("echo 7"), send("exit 3")
    get(fine)
    raises("SubprocessError", fails)
    raises("TaskRevokedError", too_late(), "expired")
    until("all events", lambda: ours("task-revoked"))
    of = lambda task: [event["type"] for event in list(got) if event.get("uuid") == task.id]
    assert of(fine) == ["task-received", "task-started", "task-succeeded"], of(fine)
    assert of(fails) == ["task-received", "task-started", "task-failed"], of(fails)
    received = [event for event in got if event.get("uuid") == fine.id][0]
    assert received["name"] == "worker.stub" and received["retries"] == 0, received
    assert ours("task-succeeded")[0]["runtime"] > 0 and ours("task-revoked")[0]["expired"] is True
    assert "exit status 3" in ours("task-failed")[0]["exception"], ours("task-failed")


def left_alone():
    (queue,) = inspect().stats()[NODE]["service-gateway"]["left_alone"]
    assert queue["queue"] == QUEUE and "was not found" in queue["why"] and queue["next_try"] >= 0, queue


def shutdown():
    app.control.shutdown(destination=[NODE])


def garbage():
    with app.connection_for_write() as connection:
        producer = connection.Producer(routing_key=QUEUE)
        producer.publish(b"\xff\x00", content_type="application/json", content_encoding="utf-8")
        producer.publish(b"text", content_type="text/plain", content_encoding="utf-8")
        producer.publish([1, 2, 3], serializer="json")
        producer.publish({"id": str(uuid.uuid4())}, serializer="json")
        producer.publish([[], {}, {}], serializer="json", headers={"task": "worker.stub", "id": 7})
        producer.publish([[], {}, {}], serializer="json", headers={"task": "worker.stub", "id": "x", "eta": "soon"})
    raises("ValueError", send("echo 1", task_id="not-a-uuid"), "UUID")


{"inspect": inspect_}.get(SCENARIO, globals()[SCENARIO])()
