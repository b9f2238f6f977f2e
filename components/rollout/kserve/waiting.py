"""Waits for the cluster to do what it was asked: a revision that answers, a gateway that splits, a promotion."""

import time
from collections.abc import Callable
from typing import Any

from components.errors import RevisionFailed, SlipwayError
from components.rollout.kserve import asking, readiness, routing
from components.rollout.kserve.api import ServiceApi
from components.rollout.kserve.manifest import Mode
from components.rollout.kserve.record import Record
from components.rollout.target import Revision
from components.train.pods import PodJudge, without_node

LOOK_S = 1.0
ROUTE_TIMEOUT_S = 90.0


class SlowCluster(SlipwayError):
    """Something that the cluster was asked to do is not done yet."""


class NoSplit(SlipwayError):
    """This KServe does not split traffic between a champion and a canary."""


class NotRestored(SlipwayError):
    """The champion serves, but the specification could not be written back."""


class Waiting:
    """Waits for one InferenceService.

    Args:
        api: of the service.
        mode: of its deployment.
    """

    def __init__(self, api: ServiceApi, mode: Mode) -> None:
        self._api, self._mode = api, mode

    def newest(self, revision: Revision) -> list[Any]:
        """The pods that `spec.predictor` stands for, or in Standard mode those of the version."""
        pods = self._api.pods(revision.version)
        if self._mode == "Standard":
            return pods
        newest = self._status().get("latestCreatedRevision")
        return [pod for pod in pods if pod.metadata.labels.get(routing.KNATIVE_REVISION) == newest]

    def until_answers(self, revision: Revision, timeout_s: float, unschedulable_s: float) -> None:
        """Return when a new pod of the revision answers predictions.

        Raises:
            RevisionFailed: it cannot start; the pod's own words say why.
            SlowCluster: it takes longer than `timeout_s`.
        """
        judge = PodJudge(unschedulable_s)

        def answers() -> bool:
            pods = self.newest(revision)
            if words := readiness.failure(pods, judge):
                raise RevisionFailed(f"version {revision.version}: {words}")
            found = readiness.ready(pods)
            if words := readiness.refusal(self._api, pods if not found else ()):
                raise RevisionFailed(f"version {revision.version}: {words}")
            return bool(found) and asking.answer(self._api, found, 0, "a first request").label is not None

        try:
            self.until(f"version {revision.version}", answers, timeout_s)
        except SlowCluster as error:
            words = without_node(self.newest(revision))
            raise SlowCluster(f"{error}; {words}" if words else str(error)) from error

    def until_routed(self, current: Record) -> None:
        """Return when new requests are split as the record says. Raises SlowCluster."""
        self.until("the gateway", lambda: self._routed(current), ROUTE_TIMEOUT_S)

    def until_rolled_out(self, current: Record) -> None:
        """Return when KServe knows that the newest revision has all traffic; only then may a new challenger come.

        Raises:
            SlowCluster: it takes too long.
        """
        self.until("the promotion", lambda: self._rolled_out(current), ROUTE_TIMEOUT_S)

    def until(self, what: str, done: Callable[[], bool], timeout_s: float) -> None:
        """Look until it is done. Raises SlowCluster."""
        end = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end:
                raise SlowCluster(f"{what} was not ready within {timeout_s:g} s; {self._said()}")
            time.sleep(LOOK_S)

    def _routed(self, current: Record) -> bool:
        shown = current.challenger or current.champion
        pods = self.newest(shown) if shown else []
        newest = pods[0].metadata.labels.get(routing.KNATIVE_REVISION) if pods else None
        return routing.routed(self._api, self._mode, current, newest)

    def _rolled_out(self, current: Record) -> bool:
        if not self._routed(current):
            return False
        status = self._status()
        rolled_out = status.get("latestRolledoutRevision")
        return self._mode == "Standard" or bool(rolled_out and rolled_out == status.get("latestCreatedRevision"))

    def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = (self._api.read() or {}).get("status", {}).get("components", {}).get("predictor", {})
        return found

    def _said(self) -> str:
        """The InferenceService's own words on what it waits for."""
        conditions = (self._api.read() or {}).get("status", {}).get("conditions", [])
        waiting = [found for found in conditions if found["status"] != "True" and found.get("message")]
        return "; ".join(f"{found['type']}: {found['message']}" for found in waiting) or "see its status by kubectl"
