"""What the pods of a revision counted: from each model server's own metrics, or from a Prometheus that has them.

A pod's counters start from 0 when its container restarts and vanish when the pod goes, so what each pod had counted is
remembered, by pod, and kept with the rollout's state.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.rollout.counter_resets import Ending, Tally, ending_of, since, total_of
from slipway.components.rollout.kserve.api import METRICS_PORT, PORT, ServiceApi
from slipway.components.rollout.target import Counts, Histogram

REQUESTS, SECONDS = "slipway_requests", "slipway_request_duration_seconds"
INFERENCE = {"infer", "predict"}
CLIENT = "client"
STALE_S = 60.0
"""A sample of Prometheus that is older says nothing about now."""


def counts_of(families: Iterable[Metric]) -> Counts:
    """The clients' inference requests in a model server's metrics; without them, none were counted yet."""
    endings: dict[Ending, int] = defaultdict(int)
    buckets: dict[float, float] = defaultdict(float)
    for family in families:
        for sample in family.samples:
            labels = sample.labels
            if labels.get("source") != CLIENT or labels.get("method") not in INFERENCE:
                continue
            if sample.name == f"{REQUESTS}_total":
                endings[ending_of(int(labels["code"]))] += int(sample.value)
            elif sample.name == f"{SECONDS}_bucket":  # of answers with 2xx alone
                buckets[float(labels["le"])] += sample.value
    failed = endings[Ending.FAILED]
    return Counts(endings[Ending.ANSWERED] + failed, failed, _histogram(buckets), endings[Ending.ABANDONED])


def _histogram(cumulative: dict[float, float]) -> Histogram:
    """Buckets in ms from cumulative ones in seconds."""
    if not cumulative:
        return Histogram()
    bounds = sorted(cumulative)
    values = [cumulative[bound] for bound in bounds]
    counts = [int(now - before) for now, before in zip(values, [0.0, *values], strict=False)]
    return Histogram(tuple(round(1000 * bound, 6) for bound in bounds[:-1]), tuple(counts))


class PodMetrics:
    """Reads `/metrics` of each pod through the API server, at a port that no gateway leads clients to."""

    def __init__(self, api: ServiceApi) -> None:
        self._api = api

    def read(self, pods: list[Any]) -> dict[str, Counts]:
        """Counts by pod name; pods that do not answer are missing."""
        found = {}
        for pod in pods:
            status, body = self._api.ask_pod(pod, "/metrics", timeout_s=5.0, port=_metrics_port(pod))
            if status == httpx.codes.OK:
                found[pod.metadata.name] = counts_of(text_string_to_metric_families(body.decode()))
        return found


def _metrics_port(pod: Any) -> int:
    given = (pod.metadata.annotations or {}).get(METRICS_PORT, "")
    return int(given) if given.isdecimal() else PORT


class PrometheusMetrics:
    """Asks a Prometheus server for what it scraped from the pods.

    Args:
        url: of the server, for example `http://prometheus.monitoring:9090`.
        namespace: of the pods.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._url, self._namespace = url.rstrip("/"), namespace

    def read(self, pods: list[Any]) -> dict[str, Counts]:
        """Counts by pod name; pods without a fresh sample are missing.

        Raises:
            SlipwayError: the server cannot be reached.
        """
        names = "|".join(pod.metadata.name for pod in pods)
        if not names:
            return {}
        by_pod: dict[str, dict[str, Metric]] = defaultdict(dict)
        for name in (f"{REQUESTS}_total", f"{SECONDS}_bucket"):
            selector = f'{name}{{namespace="{self._namespace}",pod=~"{names}"}}'
            fresh = f"{selector} and (time() - timestamp({selector}) < {STALE_S:.0f})"
            for series in self._query(fresh):
                labels = {key: value for key, value in series["metric"].items() if key != "__name__"}
                family = by_pod[labels["pod"]].setdefault(name, Metric(name, "", "unknown"))
                family.add_sample(name, labels, float(series["value"][1]))
        return {pod: counts_of(families.values()) for pod, families in by_pod.items()}

    def _query(self, query: str) -> list[dict[str, Any]]:
        try:
            answer = httpx.get(f"{self._url}/api/v1/query", params={"query": query}, timeout=10.0, trust_env=False)
            answer.raise_for_status()
            found: list[dict[str, Any]] = answer.json()["data"]["result"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise SlipwayError(f"Prometheus at {self._url} does not answer queries ({error})") from error
        return found


@dataclass
class PodCounts:
    """Tallies of every pod that was seen, by version and pod, and what was counted before the rollout began.

    A pod that was there when the rollout began, and did not answer, counts from its first answer on.
    """

    tallies: dict[str, dict[str, Tally]] = field(default_factory=dict)
    before: dict[str, dict[str, Counts]] = field(default_factory=dict)
    silent: dict[str, list[str]] = field(default_factory=dict)
    """By version, pods that have not answered since before the rollout began."""

    def take(self, version: str, seen: dict[str, Counts]) -> None:
        """Note what the pods of a version say now."""
        own, silent = self.tallies.setdefault(version, {}), self.silent.get(version, [])
        for pod, counts in seen.items():
            if pod in silent:
                silent.remove(pod)
                self.before.setdefault(version, {})[pod] = counts
                own[pod] = Tally(last=counts)
            own[pod] = own.get(pod, Tally()).updated(counts)

    def begin(self, version: str, seen: dict[str, Counts], pods: Sequence[str] = ()) -> None:
        """Count from here on; `pods` are all that there are, also those that did not answer."""
        self.silent[version] = [pod for pod in pods if pod not in seen]
        self.tallies[version] = {pod: Tally(last=counts) for pod, counts in seen.items()}
        self.before[version] = seen

    def total(self, version: str) -> Counts:
        """What the pods of a version did since the rollout began."""
        before = self.before.get(version, {})
        parts = [since(tally.total, before.get(pod, Counts())) for pod, tally in self.tallies.get(version, {}).items()]
        return total_of(parts)


_FORM = TypeAdapter(PodCounts)


def to_json(counts: PodCounts) -> dict[str, Any]:
    """Plain JSON."""
    plain: dict[str, Any] = _FORM.dump_python(counts, mode="json")
    return plain


def from_json(plain: dict[str, Any]) -> PodCounts:
    """The counts again.

    Raises:
        BadInput: it is not one.
    """
    try:
        return _FORM.validate_python(plain)
    except ValueError as error:
        raise BadInput(f"the kept counts of a rollout cannot be read ({error}); `slipway rollback` ends it") from error
