"""The rollout target on a cluster: moves traffic between two revisions of an InferenceService of KServe.

The InferenceService holds all that is known (`components.rollout.kserve.record`), so a driver that starts anywhere
goes on where another was killed. One server-side apply changes specification and record together.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from components import progress
from components.cluster import ClusterSettings, own_namespace
from components.errors import RevisionFailed, SlipwayError
from components.rollout.kserve import counting, endpoint, manifest, readiness, record, routing
from components.rollout.kserve.api import ServiceApi
from components.rollout.kserve.lease import Lease
from components.rollout.kserve.record import Record
from components.rollout.target import Counts, Pair, Revision
from components.train.pods import PodJudge

STEP = "rollout"
LOOK_S = 1.0
ROUTE_TIMEOUT_S = 90.0
RESTORE_TIMEOUT_S = 300.0
THREADS = 4
COMPARISON = {"x-slipway-source": "comparison"}
"""Marks requests that are no client's; the model servers count them apart."""


class KServeTarget:
    """Implements `components.rollout.target.RolloutTarget` for an InferenceService.

    Args:
        name: of the service and of the model; the bundles are in an object store (`Revision.bundle` is their URI).
        settings: namespace, runtime, replicas, gateway.

    Raises:
        BadInput: there is no cluster to talk to.
    """

    def __init__(self, name: str, settings: ClusterSettings) -> None:
        self.settings = settings
        self.namespace = settings.namespace or own_namespace() or "default"
        self.api = ServiceApi(self.namespace, name)
        self.mode = self.api.mode(settings.deployment_mode)
        self.name = name
        self._lease = Lease(self.api.connection, self.namespace, f"{name}-rollout")
        self._pending: dict[str, Any] | None = None
        """The driver's state before there is a service that could keep it."""
        prometheus = counting.PrometheusMetrics(settings.prometheus, self.namespace) if settings.prometheus else None
        self._metrics = prometheus or counting.PodMetrics(self.api)
        self._counts = counting.from_json(self.record().counts)

    def champion(self) -> Revision | None:
        """The revision that serves."""
        return self.record().champion

    def challenger(self) -> Revision | None:
        """The revision of a rollout that goes on or is held."""
        return self.record().challenger

    def deploy(self, revision: Revision) -> None:
        """Make `revision` the challenger with 0 % of traffic; the first revision of all gets the traffic at once."""
        current = self._restored(self.record())
        if current.challenger and current.challenger != revision:
            raise SlipwayError(
                f"version {current.challenger.version} is the challenger; promote it or roll it back before "
                f"version {revision.version}"
            )
        if current.challenger:
            return
        if current.champion:
            self._counts.begin(current.champion.version, self._seen(current.champion))
        self._counts.begin(revision.version, {})
        current.challenger, current.percent, current.state = revision, 0, self._pending or current.state
        self._apply(current)

    def wait_ready(self, revision: Revision, timeout_s: float) -> None:
        """Return when the challenger answers predictions; see the protocol."""
        try:
            self._wait_ready(revision, timeout_s)
            if self.record().champion:
                self._wait("the gateway", lambda: self._routed(self.record()), ROUTE_TIMEOUT_S)
                routing.check_splits(self.api, self.mode)
        except TimeoutError as error:
            raise RevisionFailed(str(error)) from error

    def set_traffic(self, percent: int) -> None:
        """Route `percent` of the public endpoint's requests to the challenger."""
        current = self._checked()
        current.percent = percent if current.challenger else 0
        self._apply(current)
        self._wait("the gateway", lambda: self._routed(current), ROUTE_TIMEOUT_S)

    def observe(self) -> dict[str, Counts]:
        """Counts of both revisions since `deploy`."""
        current = self._checked()
        found = {}
        for revision in filter(None, (current.champion, current.challenger)):
            self._counts.take(revision.version, self._seen(revision))
            found[revision.version] = self._counts.total(revision.version)
        return found

    def send(self, texts: Sequence[str]) -> int:
        """Send each text through the gateway; return how many reached a revision."""
        return endpoint.send(self.endpoint(), self.name, texts, endpoint.credentials())

    def compare(self, texts: Sequence[str]) -> list[Pair]:
        """Ask both revisions for each text directly, through the API server."""
        current = self._checked()
        pair = (current.champion, current.challenger)
        pods = [readiness.ready(self.api.pods(revision.version)) if revision else [] for revision in pair]
        with ThreadPoolExecutor(THREADS) as pool:
            questions = [(found, i, text) for i, text in enumerate(texts) for found in pods]
            answers = iter(list(pool.map(lambda question: self._label(*question), questions)))
        self._checked()
        return [Pair(next(answers), next(answers)) for _ in texts]

    def promote(self) -> None:
        """Make the challenger the champion with all traffic."""
        current = self._checked()
        if current.challenger:
            current.champion, current.challenger, current.percent = current.challenger, None, 0
            self._apply(current)
        if current.champion:
            self._wait("the promotion", lambda: self._rolled_out(current), ROUTE_TIMEOUT_S)

    def rollback(self) -> None:
        """Give all traffic back to the champion and remove the challenger; without a champion, the whole service."""
        current = self.record()
        if current.challenger and current.champion is None:
            self._pending = current.state
            self.api.delete()
            self._wait("the removal", lambda: self.api.read() is None, ROUTE_TIMEOUT_S)
            return
        if current.challenger:
            current.percent = 0
            self._apply(current)
            self._wait("the gateway", lambda: self._routed(current), ROUTE_TIMEOUT_S)
            current.challenger, current.restoring = None, self.mode == "Knative"
            self._apply(current)
        self._restored(current)

    def load_state(self) -> dict[str, Any] | None:
        """The driver's state."""
        return self._pending or self.record().state

    def save_state(self, state: dict[str, Any] | None) -> None:
        """Keep the driver's state, and what the pods had counted."""
        current = self.record()
        if current.champion is None and current.challenger is None:
            self._pending = state
            return
        self._pending = None
        if state is None:
            self._counts = counting.PodCounts()
        current.state = state
        self._apply(current)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the service for one driver, wherever it runs."""
        with self._lease.holding():
            self._counts = counting.from_json(self.record().counts)
            yield

    def complete(self) -> None:
        """Complete a roll back that was cut short."""
        self._restored(self.record())

    def holder(self) -> str | None:
        """Who drives a rollout now."""
        return self._lease.holder()

    def endpoint(self) -> endpoint.Endpoint:
        """Where clients send requests."""
        return endpoint.endpoint_of(self.api.read(), self.mode, self.settings.gateway)

    def record(self) -> Record:
        """What the InferenceService remembers.

        Raises:
            SlipwayError: a service of this name is there, and it is not ours.
        """
        found = self.api.read()
        if found is None:
            return Record()
        annotations = found["metadata"].get("annotations") or {}
        if found["spec"] and not any(key in annotations for key in record.KEYS):
            raise SlipwayError(
                f"InferenceService {self.namespace}/{self.name} was not made by Slipway; choose another model_name, or "
                "delete it"
            )
        canary = found["spec"].get("canary") or [{}]
        share = found["spec"]["predictor"].get("canaryTrafficPercent", canary[0].get("trafficPercent", 0))
        return record.read(annotations, share)

    def _apply(self, current: Record) -> None:
        self._lease.check()
        current.counts = counting.to_json(self._counts) if current.state is not None else {}
        self.api.apply(manifest.service(self.name, self.namespace, current, self.mode, self.settings))

    def _checked(self) -> Record:
        """The record, unless the challenger's model server ended."""
        current = self.record()
        if current.challenger and (words := readiness.crash(self._newest(current.challenger))):
            raise RevisionFailed(f"version {current.challenger.version}: {words}")
        return current

    def _seen(self, revision: Revision) -> dict[str, Counts]:
        """What the pods of a revision say that they counted."""
        return self._metrics.read(readiness.ready(self.api.pods(revision.version)))

    def _label(self, pods: list[Any], number: int, text: str) -> str | None:
        """The answer of one of the pods, or None."""
        if not pods:
            return None
        pod, path = pods[number % len(pods)].metadata.name, f"/v2/models/{self.name}/infer"
        status, body = self.api.ask_pod(pod, path, endpoint.question(text), COMPARISON | endpoint.credentials())
        if status != httpx.codes.OK:
            return None
        try:
            outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
            return str(outputs["label"][0])
        except (ValueError, LookupError, TypeError):
            return None

    def _wait_ready(self, revision: Revision, timeout_s: float) -> None:
        judge = PodJudge(self.settings.unschedulable_s)

        def answers() -> bool:
            pods = self._newest(revision)
            if words := readiness.failure(pods, judge):
                raise RevisionFailed(f"version {revision.version}: {words}")
            found = readiness.ready(pods)
            return bool(found) and self._label(found, 0, "a first request") is not None

        self._wait(f"version {revision.version}", answers, timeout_s)

    def _newest(self, revision: Revision) -> list[Any]:
        """The pods that `spec.predictor` stands for, or in Standard mode its canary."""
        pods = self.api.pods(revision.version)
        if self.mode == "Standard":
            return pods
        status = (self.api.read() or {}).get("status", {}).get("components", {}).get("predictor", {})
        newest = status.get("latestCreatedRevision")
        return [pod for pod in pods if pod.metadata.labels.get(routing.KNATIVE_REVISION) == newest]

    def _routed(self, current: Record) -> bool:
        shown = current.challenger or current.champion
        pods = self._newest(shown) if shown else []
        newest = pods[0].metadata.labels.get(routing.KNATIVE_REVISION) if pods else None
        return routing.routed(self.api, self.mode, current, newest)

    def _rolled_out(self, current: Record) -> bool:
        """Whether KServe knows that the newest revision has all traffic; only then may a new challenger come."""
        if not self._routed(current):
            return False
        status = (self.api.read() or {}).get("status", {}).get("components", {}).get("predictor", {})
        rolled_out = status.get("latestRolledoutRevision")
        return self.mode == "Standard" or bool(rolled_out and rolled_out == status.get("latestCreatedRevision"))

    def _restored(self, current: Record) -> Record:
        """Let the specification say what serves again, after a roll back.

        That is a fresh revision of the champion, at 0 % until it is ready; until then the champion's old one serves.
        """
        if not current.restoring or current.champion is None:
            return current
        progress.report(STEP, f"writing version {current.champion.version} back into the InferenceService")
        try:
            self._wait_ready(current.champion, RESTORE_TIMEOUT_S)
        except RevisionFailed as error:
            raise SlipwayError(
                f"version {current.champion.version} serves as before, but a new pod of it does not start ({error}); "
                "roll back again when that is mended"
            ) from error
        current.restoring = False
        self._apply(current)
        self._wait("the gateway", lambda: self._rolled_out(current), ROUTE_TIMEOUT_S)
        return current

    def _wait(self, what: str, done: Callable[[], bool], timeout_s: float) -> None:
        """Look until it is done.

        Raises:
            TimeoutError: it takes too long.
        """
        until = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > until:
                raise SlowCluster(f"{what} was not ready within {timeout_s:g} s; {self._said()}")
            time.sleep(LOOK_S)

    def _said(self) -> str:
        """The InferenceService's own words on what it waits for."""
        conditions = (self.api.read() or {}).get("status", {}).get("conditions", [])
        waiting = [found for found in conditions if found["status"] != "True" and found.get("message")]
        return "; ".join(f"{found['type']}: {found['message']}" for found in waiting) or "see its status by kubectl"


class SlowCluster(SlipwayError, TimeoutError):
    """Something that the cluster was asked to do is not done yet."""
