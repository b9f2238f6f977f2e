"""The record of a rollout in the annotations of its InferenceService; one of them holds the driver's state.

KServe copies an InferenceService's annotations to the pod template, and every change of the template makes a new
revision. An annotation of `spec.predictor` takes precedence there. So each annotation of the record has a constant twin
in `spec.predictor`, and the template does not change when the record does.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slipway.components import formats
from slipway.components.errors import BadInput
from slipway.components.platforms import identifiers
from slipway.components.rollout.target import Revision

PREFIX = "slipway.dev/"
ROLES = ("champion", "challenger")
FIELDS = ("version", "digest", "bundle")
RESTORING, ROLLOUT = PREFIX + "restoring", PREFIX + "rollout"
HOLDER = PREFIX + "rollout-holder"
"""The lease holder that made the last change; see `slipway.components.rollout.kserve.fence`."""
KEYS = (*(f"{PREFIX}{role}-{part}" for role in ROLES for part in FIELDS), RESTORING, ROLLOUT, HOLDER)
FORMAT = 1
"""Version of the content of the annotation `ROLLOUT`; see `slipway.components.formats`."""
TWIN = "see-the-inferenceservice"
"""Value of all twins."""
LIMIT = 200_000
"""Most bytes of the annotation `ROLLOUT`; Kubernetes allows 262,144 for all annotations of an object."""


@dataclass
class Record:
    """Champion, challenger and the state of their rollout."""

    champion: Revision | None = None
    challenger: Revision | None = None
    percent: int = 0
    """The challenger's share of traffic. It is part of the specification, not of the annotations."""
    replicas: int = 1
    """Pods that the challenger requests in Standard mode. This is part of the specification as well."""
    restoring: bool = False
    """Whether the challenger was rolled back, and the specification does not describe the champion yet."""
    state: dict[str, Any] | None = None
    """The driver's state."""
    counts: dict[str, Any] = field(default_factory=dict)
    """The pods' counts; see `slipway.components.rollout.kserve.pod_counters`."""


def annotations(record: Record) -> dict[str, str]:
    """The annotations that hold a record."""
    values: dict[str, str] = {}
    for role in ROLES:
        revision = getattr(record, role)
        if revision:
            values |= {f"{PREFIX}{role}-{part}": getattr(revision, part) for part in FIELDS}
    if record.restoring:
        values[RESTORING] = "true"
    if record.state is not None or record.counts:
        values[ROLLOUT] = _packed({formats.KEY: FORMAT, "state": record.state, "counts": record.counts})
    return values


def twins() -> dict[str, str]:
    """Annotations for `spec.predictor` that keep those of a record out of the pod template."""
    return dict.fromkeys(KEYS, TWIN)


def read(values: Mapping[str, str], percent: int, replicas: int = 1) -> Record:
    """Read the record from an InferenceService's annotations.

    Args:
        values: the annotations.
        percent: the challenger's share of traffic, from the specification.
        replicas: pods that the challenger requests, from the specification.

    Raises:
        BadInput: the driver's state is damaged or a later Slipway wrote it, or a version, digest or URI is malformed.
    """
    try:
        rollout = json.loads(gzip.decompress(base64.b64decode(values[ROLLOUT]))) if ROLLOUT in values else {}
        formats.check(f"the annotation {ROLLOUT}", rollout, FORMAT)
        return Record(
            _revision(values, "champion"),
            _revision(values, "challenger"),
            percent,
            replicas,
            RESTORING in values,
            rollout.get("state"),
            rollout.get("counts") or {},
        )
    except (ValueError, OSError, EOFError, AttributeError) as error:
        raise BadInput(f"the annotation {ROLLOUT} is damaged ({error}); remove it to begin the rollout anew") from error


def _revision(values: Mapping[str, str], role: str) -> Revision | None:
    parts = {part: values.get(f"{PREFIX}{role}-{part}") for part in FIELDS}
    if not all(parts.values()):
        return None
    checks = {"version": identifiers.version, "bundle": identifiers.bundle_uri, "digest": identifiers.digest}
    return Revision(
        **{part: check(str(parts[part]), f"the annotation {PREFIX}{role}-{part}") for part, check in checks.items()}
    )


def _packed(rollout: dict[str, Any]) -> str:
    """The content of the annotation, compressed. Points of the timeline are dropped until it fits into `LIMIT`."""
    while True:
        packed = base64.b64encode(gzip.compress(json.dumps(rollout).encode(), mtime=0)).decode()
        timeline = (rollout["state"] or {}).get("timeline") or []
        if len(packed) <= LIMIT or len(timeline) < 3:
            return packed
        rollout = rollout | {"state": rollout["state"] | {"timeline": [*timeline[:-1:2], timeline[-1]]}}
