"""Waits until the cluster has applied a change, for the KServe target: a ready revision, a split, a promotion."""

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
"""Responses in a row from one version, after which the gateway is considered to send nothing to the other one. Each
request has its own connection, since a gateway may have several processes that apply a change one after the other."""
BLIND_S = 10.0
"""Seconds to wait instead where no response names its version, for example because the gateway is not reachable."""


class SlowCluster(SlipwayError):
    """The cluster did not apply a change within the time limit."""


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
        """The pods of the newest Knative revision, which `spec.predictor` describes; in Standard mode the version's."""
        pods = self._api.pods(revision.version)
        if self._mode == "Standard":
            return pods
        newest = self._status().get("latestCreatedRevision")
        return [pod for pod in pods if pod.metadata.labels.get(routing.KNATIVE_REVISION) == newest]

    def until_answers(self, revision: Revision, timeout_s: float, unschedulable_s: float, wanted: int = 1) -> None:
        """Return when `wanted` new pods of the revision are ready, and one answers predictions.

        Raises:
            RevisionFailed: it cannot start, for the reason that its pod reports, or another bundle answers.
            SlowCluster: it takes longer than `timeout_s`.
        """
        judge = PodJudge(unschedulable_s)

        def answers() -> bool:
            pods = self.newest(revision)
            if reason := readiness.failure(pods, judge):
                raise RevisionFailed(f"version {revision.version}: {reason}")
            ready = readiness.ready(pods)
            if reason := readiness.refusal(self._api, pods if not ready else ()):
                raise RevisionFailed(f"version {revision.version}: {reason}")
            if len(ready) < wanted:
                return False
            reply = pod_client.answer(self._api, ready, 0, "a first request").reply
            if message := foreign(reply, revision):
                raise RevisionFailed(message)
            return reply is not None

        what = f"version {revision.version}" + (f" with {wanted} pods" if wanted > 1 else "")
        try:
            self.until(what, answers, timeout_s)
        except SlowCluster as error:
            pending = without_node(self.newest(revision))
            raise SlowCluster(f"{error}; {pending}" if pending else str(error)) from error

    def until_routed(self, current: Record) -> None:
        """Return when new requests are split as the record says. Raises SlowCluster."""
        self.until("the gateway", lambda: self._routed(current), ROUTE_TIMEOUT_S)

    def until_rolled_out(self, current: Record) -> None:
        """Return when KServe reports that the newest revision has all traffic; only then a new challenger may follow.

        In Standard mode that is when no route names another revision, whose Services are gone by then.

        Raises:
            SlowCluster: it takes too long.
        """
        self.until("the promotion", lambda: self._rolled_out(current), ROUTE_TIMEOUT_S)

    def until_settled(self, revision: Revision, ask: Callable[[], str | None]) -> None:
        """Return when the gateway sends all new requests to a revision.

        The status of an HTTPRoute is not enough: it says that the gateway accepted the route, not that it follows it.

        Args:
            revision: the one that has all traffic.
            ask: sends a new request and returns the version that answered; None when the response does not name it.

        Raises:
            SlowCluster: requests still reach another revision.
        """
        in_a_row, blind_until = 0, time.monotonic() + BLIND_S

        def settled() -> bool:
            nonlocal in_a_row, blind_until
            while in_a_row < ANSWERS:
                version = ask()
                if version is None:
                    return time.monotonic() > blind_until
                blind_until = time.monotonic() + BLIND_S
                if version != revision.version:
                    in_a_row = 0
                    return False
                in_a_row += 1
            return True

        self.until(f"the gateway's move to version {revision.version}", settled, ROUTE_TIMEOUT_S)

    def until(self, what: str, done: Callable[[], bool], timeout_s: float) -> None:
        """Call `done` every `LOOK_S` until it returns True. Raises SlowCluster after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end:
                raise SlowCluster(f"{what} was not ready within {timeout_s:g} s; {self._conditions()}")
            time.sleep(LOOK_S)

    def _routed(self, current: Record) -> bool:
        shown = current.challenger or current.champion
        pods = self.newest(shown) if shown else []
        newest = pods[0].metadata.labels.get(routing.KNATIVE_REVISION) if pods else None
        return routing.routed(self._api, self._mode, current, newest)

    def _rolled_out(self, current: Record) -> bool:
        if not self._routed(current):
            return False
        if self._mode == "Standard":  # KServe sets the URL after it has made the routes
            return "url" in (self._api.read() or {}).get("status", {})
        status = self._status()
        rolled_out = status.get("latestRolledoutRevision")
        return bool(rolled_out and rolled_out == status.get("latestCreatedRevision"))

    def _status(self) -> dict[str, Any]:
        """The status of the predictor; empty when there is none."""
        components: dict[str, Any] = (self._api.read() or {}).get("status", {}).get("components", {})
        status: dict[str, Any] = components.get("predictor", {})
        return status

    def _conditions(self) -> str:
        """The messages of the InferenceService's conditions that are not met."""
        conditions = (self._api.read() or {}).get("status", {}).get("conditions", [])
        unmet = [condition for condition in conditions if condition["status"] != "True" and condition.get("message")]
        messages = "; ".join(f"{condition['type']}: {condition['message']}" for condition in unmet)
        return messages or "see its status by kubectl"
