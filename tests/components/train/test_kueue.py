"""Why a job is held, from what Kueue 0.17 wrote into Workloads, asked of a server that answers as the API does."""

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client

from slipway.components.train.kueue import why_held
from tests.components.train.api_server import ApiServer, api_server

JOB = {"metadata": {"name": "x", "namespace": "n", "uid": "uid-1", "labels": {"kueue.x-k8s.io/queue-name": "q"}}}
PODS = "couldn't assign flavors to pod set master: "
BUSY = f"{PODS}insufficient unused quota for cpu in flavor f, 100m more needed"
TOO_LARGE = f"{PODS}insufficient quota for cpu in flavor f, current podset request (20) > maximum capacity (300m)"
NO_QUEUE = "LocalQueue q doesn't exist"


class Queue:
    """A job's Workload on a server, as Kueue leaves it, and what is found by asking there."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.custom = client.CustomObjectsApi(client.ApiClient(client.Configuration(host=server.address)))

    def answers(self, status: int, body: dict[str, Any], version: str = "v1beta2") -> None:
        self.server.answers["GET", f"/{version}/namespaces/n/workloads"] = status, body

    def has(self, *conditions: dict[str, str], version: str = "v1beta2", **workload: Any) -> None:
        """There is a Workload with these conditions."""
        status = {"conditions": list(conditions)} | workload.pop("status", {})
        found = {"metadata": {"name": "pytorchjob-x-1"}, "spec": {"queueName": "q"} | workload, "status": status}
        self.answers(200, {"items": [found]}, version)

    def words(self) -> str:
        return why_held(self.custom, JOB)


@pytest.fixture
def queue() -> Iterator[Queue]:
    with api_server() as server:
        yield Queue(server)


def reserved(status: str, reason: str, message: str) -> dict[str, str]:
    """The condition that says whether there is quota for a job."""
    return {"type": "QuotaReserved", "status": status, "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("reason", "message", "words"),
    [
        ("Pending", BUSY, f"waits in queue q: {BUSY}"),
        ("Pending", f"{BUSY}, {TOO_LARGE}", f"waits in queue q: {BUSY}, {TOO_LARGE}"),
        (
            "Pending",
            TOO_LARGE,
            f"cannot start from queue q as things are, and waits until someone changes them: {TOO_LARGE}",
        ),
        (
            "Inadmissible",
            NO_QUEUE,
            f"cannot start from queue q as things are, and waits until someone changes them: {NO_QUEUE}",
        ),
    ],
)
def test_kueue_s_words_are_told(queue: Queue, reason: str, message: str, words: str) -> None:
    queue.has(reserved("False", reason, message))
    assert queue.words() == words
    assert "labelSelector=kueue.x-k8s.io%2Fjob-uid%3Duid-1" in queue.server.requests[0]


def test_an_older_kueue_is_asked_in_its_version(queue: Queue) -> None:
    queue.has(reserved("False", "Pending", BUSY), version="v1beta1")
    assert queue.words() == f"waits in queue q: {BUSY}"


def test_what_keeps_a_job_that_has_its_quota_is_told(queue: Queue) -> None:
    checks = [{"name": "nodes", "state": "Pending", "message": "2 are on their way"}, {"name": "ok", "state": "Ready"}]
    queue.has(reserved("True", "QuotaReserved", "reserved"), status={"admissionChecks": checks})
    assert (
        queue.words() == "has its quota in queue q and waits for admission checks: nodes is Pending 2 are on their way"
    )


def test_a_workload_that_someone_stopped_is_named(queue: Queue) -> None:
    queue.has(reserved("False", "Pending", "The workload is deactivated"), active=False)
    assert queue.words() == (
        "is stopped in queue q, and waits until its Workload pytorchjob-x-1 has spec.active true again"
    )


@pytest.mark.parametrize("status", [403, 404, 500])
def test_without_rights_or_kueue_the_queue_s_name_is_told(queue: Queue, status: int) -> None:
    for version in ("v1beta2", "v1beta1"):
        queue.answers(status, {"message": "no"}, version)
    assert queue.words() == "is suspended: it waits in queue q"


def test_a_workload_that_kueue_has_not_looked_at_says_the_same(queue: Queue) -> None:
    queue.has()
    assert queue.words() == "is suspended: it waits in queue q"
    queue.answers(200, {"items": []})
    assert queue.words() == "is suspended: it waits in queue q"


def test_a_job_without_a_queue_was_suspended_by_someone() -> None:
    nowhere = client.CustomObjectsApi(client.ApiClient(client.Configuration(host="http://127.0.0.1:9")))
    nowhere.api_client.configuration.retries = 0
    job = {"metadata": {"name": "x", "namespace": "n", "uid": "uid-1"}}
    assert why_held(nowhere, job) == "is suspended; it starts when its spec.runPolicy.suspend is false"
