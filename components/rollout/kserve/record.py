"""What an InferenceService remembers of its rollout: readable annotations, and the driver's state in one of them.

KServe copies an InferenceService's annotations to the pod template, and every change of that makes a new revision. An
annotation of `spec.predictor` takes precedence there, so each of ours has a constant twin in it: the template does not
change when a record does.
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
"""Who made the last change; see `slipway.components.rollout.kserve.fence`."""
KEYS = (*(f"{PREFIX}{role}-{part}" for role in ROLES for part in FIELDS), RESTORING, ROLLOUT, HOLDER)
FORMAT = 1
"""Of what the annotation `ROLLOUT` holds; see `slipway.components.formats`."""
TWIN = "see-the-inferenceservice"
LIMIT = 200_000
"""Bytes of the driver's state; Kubernetes takes 262,144 for all annotations of an object."""


@dataclass
class Record:
    """Who serves, who is being rolled out, and what the driver knows."""

    champion: Revision | None = None
    challenger: Revision | None = None
    percent: int = 0
    """The challenger's share of traffic; it is part of the specification, not of the annotations."""
    replicas: int = 1
    """Pods that the challenger asks for in Standard mode; part of the specification as well."""
    restoring: bool = False
    """The challenger was rolled back, and the specification is going back to the champion's."""
    state: dict[str, Any] | None = None
    """Of the driver."""
    counts: dict[str, Any] = field(default_factory=dict)
    """What the pods had counted; see `slipway.components.rollout.kserve.pod_counters`."""


def annotations(record: Record) -> dict[str, str]:
    """The annotations that hold a record."""
    found: dict[str, str] = {}
    for role in ROLES:
        revision = getattr(record, role)
        if revision:
            found |= {f"{PREFIX}{role}-{part}": getattr(revision, part) for part in FIELDS}
    if record.restoring:
        found[RESTORING] = "true"
    if record.state is not None or record.counts:
        found[ROLLOUT] = _packed({formats.KEY: FORMAT, "state": record.state, "counts": record.counts})
    return found


def twins() -> dict[str, str]:
    """Annotations for `spec.predictor` that keep those of a record out of the pod template."""
    return dict.fromkeys(KEYS, TWIN)


def read(found: Mapping[str, str], percent: int, replicas: int = 1) -> Record:
    """The record in an InferenceService's annotations.

    Raises:
        BadInput: the driver's state is damaged or too new, or a version, digest or place is none.
    """
    try:
        kept = json.loads(gzip.decompress(base64.b64decode(found[ROLLOUT]))) if ROLLOUT in found else {}
        formats.check(f"the annotation {ROLLOUT}", kept, FORMAT)
        return Record(
            _revision(found, "champion"),
            _revision(found, "challenger"),
            percent,
            replicas,
            RESTORING in found,
            kept.get("state"),
            kept.get("counts") or {},
        )
    except (ValueError, OSError, EOFError, AttributeError) as error:
        raise BadInput(f"the annotation {ROLLOUT} is damaged ({error}); remove it to begin the rollout anew") from error


def _revision(found: Mapping[str, str], role: str) -> Revision | None:
    parts = {part: found.get(f"{PREFIX}{role}-{part}") for part in FIELDS}
    if not all(parts.values()):
        return None
    forms = {"version": identifiers.version, "bundle": identifiers.bundle_uri, "digest": identifiers.digest}
    return Revision(
        **{part: form(str(parts[part]), f"the annotation {PREFIX}{role}-{part}") for part, form in forms.items()}
    )


def _packed(kept: dict[str, Any]) -> str:
    """Compressed; the timeline, which only charts need, is thinned out when it is too long."""
    while True:
        packed = base64.b64encode(gzip.compress(json.dumps(kept).encode(), mtime=0)).decode()
        timeline = (kept["state"] or {}).get("timeline") or []
        if len(packed) <= LIMIT or len(timeline) < 3:
            return packed
        kept = kept | {"state": kept["state"] | {"timeline": [*timeline[:-1:2], timeline[-1]]}}
