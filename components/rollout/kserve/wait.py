"""Waits for the cluster to do what it was asked: a revision that answers, a gateway that splits, a promotion."""

import time
from collections.abc import Callable
from typing import Any

from slipway.components.errors import RevisionFailed, SlipwayError
from slipway.components.platforms.pod_states import PodJudge, without_node
from slipway.components.rollout.kserve import pod_client, readiness, routing
from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.manifest import Mode
from slipway.components.rollout.kserve.record import Record
from slipway.components.rollout.probe_request import foreign
from slipway.components.rollout.target import Revision

LOOK_S = 1.0
ROUTE_TIMEOUT_S = 90.0
ANSWERS = 30
"""That in a row come from one version before the gateway is taken to send nothing to the other. Each is asked over a
connection of its own, since a gateway may have several processes, which follow a change one after the other."""
BLIND_S = 10.0
"""Enough for a gateway to follow, where its answers do not say who gave them (it is not reached from here, say)."""


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

    def until_answers(self, revision: Revision, timeout_s: float, unschedulable_s: float, wanted: int = 1) -> None:
        """Return when `wanted` new pods of the revision are ready, and one answers predictions.

        Raises:
            RevisionFailed: it cannot start, as the pod's own words say, or another bundle answers.
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
            if len(found) < wanted:
                return False
            reply = pod_client.answer(self._api, found, 0, "a first request").reply
            if words := foreign(reply, revision):
                raise RevisionFailed(words)
            return reply is not None

        what = f"version {revision.version}" + (f" with {wanted} pods" if wanted > 1 else "")
        try:
            self.until(what, answers, timeout_s)
        except SlowCluster as error:
            words = without_node(self.newest(revision))
            raise SlowCluster(f"{error}; {words}" if words else str(error)) from error

    def until_routed(self, current: Record) -> None:
        """Return when new requests are split as the record says. Raises SlowCluster."""
        self.until("the gateway", lambda: self._routed(current), ROUTE_TIMEOUT_S)

    def until_rolled_out(self, current: Record) -> None:
        """Return when KServe knows that the newest revision has all traffic; only then may a new challenger come.

        In Standard mode that is when no route names another revision, whose Services are gone.

        Raises:
            SlowCluster: it takes too long.
        """
        self.until("the promotion", lambda: self._rolled_out(current), ROUTE_TIMEOUT_S)

    def until_settled(self, revision: Revision, ask: Callable[[], str | None]) -> None:
        """Return when the gateway leads all new requests to a revision: an HTTPRoute says only what it was told.

        Args:
            revision: that has all traffic.
            ask: the version that answers a new request; None when nobody says.

        Raises:
            SlowCluster: requests still reach another one.
        """
        in_a_row, blind_until = 0, time.monotonic() + BLIND_S

        def settled() -> bool:
            nonlocal in_a_row, blind_until
            while in_a_row < ANSWERS:
                answered = ask()
                if answered is None:
                    return time.monotonic() > blind_until
                blind_until = time.monotonic() + BLIND_S
                if answered != revision.version:
                    in_a_row = 0
                    return False
                in_a_row += 1
            return True

        self.until(f"the gateway's move to version {revision.version}", settled, ROUTE_TIMEOUT_S)

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
        if self._mode == "Standard":  # KServe tells the URL once it has made the routes
            return "url" in (self._api.read() or {}).get("status", {})
        status = self._status()
        rolled_out = status.get("latestRolledoutRevision")
        return bool(rolled_out and rolled_out == status.get("latestCreatedRevision"))

    def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = (self._api.read() or {}).get("status", {}).get("components", {}).get("predictor", {})
        return found

    def _said(self) -> str:
        """The InferenceService's own words on what it waits for."""
        conditions = (self._api.read() or {}).get("status", {}).get("conditions", [])
        waiting = [found for found in conditions if found["status"] != "True" and found.get("message")]
        return "; ".join(f"{found['type']}: {found['message']}" for found in waiting) or "see its status by kubectl"
