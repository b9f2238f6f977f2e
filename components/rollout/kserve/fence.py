"""Lets only the newest holder of a rollout's lease change its InferenceService and the objects that belong to it.

A driver that was cut off from the cluster does not know that another has taken over, and its earlier requests may
arrive late. So the service carries a fencing token: the number of the lease holder that changed it last. Each change
names the state (`resourceVersion`) in which the driver found no token of a later holder, and the API server rejects it
in any other state. A new holder writes its token before it reads anything else. From then on the API server rejects
all changes of earlier holders.

https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html
"""

import time
from collections.abc import Callable
from typing import Any

from slipway.components.errors import SlipwayError
from slipway.components.rollout.kserve.lease import Lease, readable_identity
from slipway.components.rollout.kserve.objects import ABSENT, FIELD_MANAGER, Changed, OwnObject
from slipway.components.rollout.kserve.record import HOLDER

CLAIM_MANAGER = f"{FIELD_MANAGER}-holder"
ATTEMPTS, PAUSE_S = 50, 0.1
"""A change is tried again after a conflict: KServe writes the service's status, and each such write is a new state."""


class Fence:
    """The changes of one object, such as an InferenceService.

    Args:
        api: of the object.
        lease: of its rollouts. A command that does not hold it writes no token of its own.

    Every method that changes something raises `SlipwayError` when the lease is lost or a later holder has taken over.
    """

    def __init__(self, api: OwnObject, lease: Lease) -> None:
        self._api, self._lease = api, lease

    def last(self) -> int:
        """The number of the holder that changed the object last; 0 when none did."""
        return _number(_token(self._api.read()))

    def claim(self) -> None:
        """Write this holder's token, so that changes of earlier holders are rejected from now on.

        A service made by a release without tokens gets its token with its first change instead. The token alone would
        become part of the pod template, and would begin a new revision.
        """

        def change(existing: dict[str, Any] | None, token: str) -> None:
            if existing and _may_carry(existing):
                metadata = {
                    "name": self._api.name,
                    "annotations": {HOLDER: token},
                    "resourceVersion": _state(existing),
                }
                self._api.apply(self._api.kind.head | {"metadata": metadata}, CLAIM_MANAGER)

        self._change(change)

    def apply(self, fields: dict[str, Any]) -> None:
        """Set fields of the object; see `OwnObject.apply`."""

        def change(existing: dict[str, Any] | None, token: str) -> None:
            holder = {HOLDER: token} if token else {}
            metadata = fields["metadata"] | {"resourceVersion": _state(existing)}
            metadata["annotations"] = metadata.get("annotations", {}) | holder
            self._api.apply(fields | {"metadata": metadata})

        self._change(change)

    def delete(self) -> None:
        """Remove the object."""

        def change(existing: dict[str, Any] | None, token: str) -> None:  # noqa: ARG001 (no object is left to carry it)
            if existing:
                self._api.delete(_state(existing))

        self._change(change)

    def _change(self, change: Callable[[dict[str, Any] | None, str], None]) -> None:
        """Change the object in its present state; try again when another client has changed it meanwhile."""
        for attempt in range(ATTEMPTS):
            existing = self._api.read()
            try:
                change(existing, self._next_token(_token(existing)))
                return
            except Changed as error:
                if attempt == ATTEMPTS - 1:
                    raise SlipwayError(
                        f"{self._api.kind.name} {self._api.name} changes all the time: {error}"
                    ) from error
                time.sleep(PAUSE_S)

    def _next_token(self, last: str) -> str:
        """The token of the next change, given that of the last change. Raises SlipwayError as every change does."""
        self._lease.check()
        if not self._lease.held:
            return last
        if _number(last) > self._lease.transition:
            other = readable_identity(last.partition(" ")[2])
            raise SlipwayError(
                f"another rollout has taken {self._api.namespace}/{self._api.name} over ({other}); "
                "this one was cut off for too long and changes nothing any more"
            )
        return self._lease.token


def _token(existing: dict[str, Any] | None) -> str:
    return str(((existing or {}).get("metadata", {}).get("annotations") or {}).get(HOLDER, ""))


def _may_carry(existing: dict[str, Any]) -> bool:
    """Whether a token alone starts no new revision: an InferenceService has a twin of it, and other kinds have no pods.

    The twin is a constant annotation of `spec.predictor`; see `slipway.components.rollout.kserve.record`.
    """
    predictor = existing["spec"].get("predictor")
    return predictor is None or HOLDER in predictor.get("annotations", {})


def _number(token: str) -> int:
    number = token.partition(" ")[0]
    return int(number) if number.isascii() and number.isdigit() else 0


def _state(existing: dict[str, Any] | None) -> str:
    return str(existing["metadata"]["resourceVersion"]) if existing else ABSENT
