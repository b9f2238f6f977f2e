"""A cluster of one process, the targets that a driver has on it, and clients of its gateway."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.rollout.kserve.target import KServeTarget
from slipway.components.rollout.target import Revision
from tests.components.present import present
from tests.components.rollout.kserve_cluster import NAME, NAMESPACE, Cluster, digest_for

FIRST, SECOND, THIRD = (Revision(version, f"s3://models/{version}", digest_for(version)) for version in "123")


class Site:
    """A cluster, and targets on it as a driver has them."""

    def __init__(self, cluster: Cluster, gateway: str, pods: int) -> None:
        self.cluster, self.gateway = cluster, gateway
        self.settings = ClusterSettings(
            namespace=NAMESPACE, gateway=gateway, min_replicas=pods, max_replicas=pods, deployment_mode="Standard"
        )

    @property
    def target(self) -> KServeTarget:
        return KServeTarget(NAME, self.settings)

    def service(self) -> dict[str, Any]:
        """The InferenceService, which there must be."""
        return present(self.cluster.service)

    def serve(self, revision: Revision) -> KServeTarget:
        """Make it the first champion."""
        target = self.target
        target.deploy(revision)
        target.wait_ready(revision, 10.0)
        target.promote()
        return target

    @contextmanager
    def clients(self) -> Iterator[None]:
        """Requests without pause, and until the last change has come to the gateway."""
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=self.gateway, trust_env=False) as http:
                while not stop.wait(0.002):
                    http.post(f"/v2/models/{NAME}/infer", json={})

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
            self.until(lambda: self.cluster.quiet())
        finally:
            stop.set()
            thread.join()

    def until(self, done: Callable[[], bool]) -> None:
        """Wait for what the cluster or its clients do."""
        end = time.monotonic() + 20.0
        while not done():
            assert time.monotonic() < end
            self.cluster.tick()
            time.sleep(0.01)

    def until_answered(self, revision: Revision) -> None:
        """Wait for a client to be answered by a revision."""
        self.until(lambda: self.cluster.answers[200, revision.version] > 0)

    @property
    def lost(self) -> dict[tuple[int, str], int]:
        return {answer: count for answer, count in self.cluster.answers.items() if answer[0] != httpx.codes.OK}


class OneProcess:
    """KServe's Standard mode as `kserve_cluster` plays it."""

    standing: Revision | None = None

    def __init__(self, site: Site) -> None:
        self._site, self._numbers = site, count(1)

    def target(self) -> KServeTarget:
        return self._site.target

    def good(self) -> Revision:
        version = str(next(self._numbers))
        return Revision(version, f"s3://models/{version}", digest_for(version))

    def broken(self) -> Revision:
        revision = self.good()
        self._site.cluster.refused.add(revision.version)
        return revision


def use(api: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an API server the cluster of this process."""
    entry = {"clusters": [{"name": "fake", "cluster": {"server": api}}], "users": [{"name": "fake", "user": {}}]}
    context = {"contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}]}
    file.write_text(json.dumps(entry | context | {"current-context": "fake"}))
    monkeypatch.setenv("KUBECONFIG", str(file))
