"""Two drivers and a real API server: the one whose connection is slow stops in time, and its late change is refused."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from slipway.components.errors import SlipwayError
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.rollout.kserve import fence, lease
from slipway.components.rollout.kserve.lease import Lease
from slipway.components.rollout.kserve.objects import Changed
from slipway.components.rollout.kserve.record import HOLDER
from slipway.components.rollout.kserve.target import KServeTarget
from slipway.components.rollout.target import Revision
from tests.cluster.access import Cluster

pytestmark = pytest.mark.cluster
DURATION_S, RENEW_S, ANSWER_S = 9, 0.2, 1.2
FIRST, SECOND = (Revision(version, f"s3://models/{version}", f"sha256:{version * 64}") for version in "12")


class SlowWay:
    """A way to the API server on which answers take a while, and requests wait until they are let through."""

    def __init__(self, address: str, port: int) -> None:
        self._to = (address, port)
        self.answer_s = 0.0
        self.late = 0
        """Answers that took a while."""
        self.open = threading.Event()
        self.open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(self._to)
            for source, sink, answers in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._carry, args=(source, sink, answers), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65536):
                self.open.wait()
                if answers:
                    time.sleep(self.answer_s)
                    self.late += self.answer_s > 0
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        self.open.set()
        self._listener.close()


@pytest.fixture
def slow(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowWay]:
    """KUBECONFIG leads over the slow way, until the test sets it to the cluster's own."""
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
    server = config["clusters"][0]["cluster"]
    place = urlsplit(server["server"])
    assert place.hostname
    way = SlowWay(place.hostname, place.port or 443)
    server |= {"server": f"https://127.0.0.1:{way.port}", "tls-server-name": place.hostname}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(lease, "RENEW_S", RENEW_S)
    yield way
    way.close()


def driver(namespace: str) -> KServeTarget:
    target = KServeTarget("messages", ClusterSettings(namespace=namespace, deployment_mode="Standard"))
    target._lease = Lease(target.api.connection, namespace, "messages-rollout", DURATION_S)
    target._fence._lease = target._lease
    return target


def believes(holder: Lease) -> bool:
    try:
        holder.check()
    except SlipwayError:
        return False
    return True


def acquire(other: Lease) -> None:
    """Hold it as soon as it is free."""
    end = time.monotonic() + 60
    while True:
        try:
            other._acquire(0)
            return
        except SlipwayError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_holder_with_slow_answers_has_stopped_when_another_begins(
    cluster: Cluster, own_namespace: str, slow: SlowWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = driver(own_namespace)
    monkeypatch.setenv("KUBECONFIG", cluster.kubeconfig)
    new = driver(own_namespace)
    with old._lease.holding():
        slow.answer_s = ANSWER_S
        end = time.monotonic() + 60
        while slow.late < 4:
            assert time.monotonic() < end, "no renewal with a late answer"
            time.sleep(0.05)
        assert believes(old._lease)
        slow.open.clear()
        acquire(new._lease)
        began, overlap = time.monotonic(), 0.0
        while believes(old._lease) and overlap < DURATION_S:
            overlap = time.monotonic() - began
            time.sleep(0.02)
        slow.answer_s = 0.0
        slow.open.set()
    assert overlap == 0.0


def test_the_api_server_refuses_what_a_driver_sent_before_another_took_over(
    cluster: Cluster, own_namespace: str, slow: SlowWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = driver(own_namespace)
    monkeypatch.setenv("KUBECONFIG", cluster.kubeconfig)
    new = driver(own_namespace)
    refused: list[str] = []
    sent = threading.Event()
    send = old.api.apply

    def late(*given: Any) -> object:
        slow.open.clear()
        sent.set()
        try:
            return send(*given)
        except Changed as error:
            refused.append(str(error))
            raise

    def change() -> None:
        try:
            old.save_state({"late": True})
        except SlipwayError as error:
            refused.append(str(error))

    with old.lock():
        old.deploy(FIRST)
        monkeypatch.setattr(old._lease, "check", lambda: None)  # it goes on to believe in its lock
        monkeypatch.setattr(old.api, "apply", late)
        sending = threading.Thread(target=change)
        sending.start()
        assert sent.wait(30)
        assert new.wait_until_free(30.0) is None
        with new.lock():
            monkeypatch.setattr(old.api, "apply", send)
            slow.open.set()
            sending.join(60)
            found = new.api.read()
            assert found
            assert found["metadata"]["annotations"][HOLDER] == new._lease.token
            assert new.load_state() is None
            with pytest.raises(SlipwayError, match="has taken"):
                old.rollback()
            new.save_state({"mine": True})
    assert "the object has been modified" in refused[0]
    assert f"another rollout has taken {own_namespace}/messages over (process {os.getpid()} on" in refused[1]
    assert new.load_state() == {"mine": True}


def test_the_api_server_makes_a_service_for_who_saw_none_only_while_there_is_none(
    cluster: Cluster, own_namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", cluster.kubeconfig)
    monkeypatch.setattr(fence, "ATTEMPTS", 1)
    one, two = driver(own_namespace), driver(own_namespace)
    one.deploy(FIRST)
    record = two.record
    monkeypatch.setattr(two, "record", lambda: type(record())())
    monkeypatch.setattr(two.api, "read", lambda: None)
    with pytest.raises(SlipwayError, match="must be specified for an update"):
        two.deploy(SECOND)
    assert one.challenger() == FIRST
