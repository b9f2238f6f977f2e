"""Lets only the newest holder of a rollout's lease change its InferenceService, and what goes with it.

A driver that was cut off does not know that another has taken over, and what it sent before may arrive after that. So
the service carries a fencing token: the number of the lease's holder that changed it last. Each change is made for the
state (`resourceVersion`) in which no later holder's token was seen, and the API server refuses it in any other. A new
holder puts its token there before it reads anything else; from then on all that earlier ones do is refused.

https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html
"""

import time
from collections.abc import Callable
from typing import Any

from slipway.components.errors import SlipwayError
from slipway.components.rollout.kserve.lease import Lease, words
from slipway.components.rollout.kserve.objects import ABSENT, FIELD_MANAGER, Changed, OwnObject
from slipway.components.rollout.kserve.record import HOLDER

CLAIM_MANAGER = f"{FIELD_MANAGER}-holder"
ATTEMPTS, PAUSE_S = 50, 0.1
"""KServe writes the service's status while a change is on its way, and each such write makes a new state."""


class Fence:
    """The changes of one object, such as an InferenceService.

    Args:
        api: of the object.
        lease: of its rollouts. Who does not hold it (a command before there is a rollout) has no token of its own.

    Every method that changes something raises `SlipwayError` when the lease is lost, or a later holder was there.
    """

    def __init__(self, api: OwnObject, lease: Lease) -> None:
        self._api, self._lease = api, lease

    def last(self) -> int:
        """The number of the holder that changed the object last; 0 when none did."""
        return _number(_token(self._api.read()))

    def claim(self) -> None:
        """Let the object name this holder, so that what earlier ones do is refused from now on.

        A service that was made by a release without this token gets it with the first change: alone, it would come into
        the pod template and begin a new revision.
        """

        def change(found: dict[str, Any] | None, token: str) -> None:
            if found and _may_carry(found):
                metadata = {"name": self._api.name, "annotations": {HOLDER: token}, "resourceVersion": _state(found)}
                self._api.apply(self._api.kind.head | {"metadata": metadata}, CLAIM_MANAGER)

        self._change(change)

    def apply(self, made: dict[str, Any]) -> None:
        """Make the fields of the object so; see `OwnObject.apply`."""

        def change(found: dict[str, Any] | None, token: str) -> None:
            held = {HOLDER: token} if token else {}
            metadata = made["metadata"] | {"resourceVersion": _state(found)}
            metadata["annotations"] = metadata.get("annotations", {}) | held
            self._api.apply(made | {"metadata": metadata})

        self._change(change)

    def delete(self) -> None:
        """Remove the object."""

        def change(found: dict[str, Any] | None, token: str) -> None:  # noqa: ARG001 (nothing is left to carry it)
            if found:
                self._api.delete(_state(found))

        self._change(change)

    def _change(self, change: Callable[[dict[str, Any] | None, str], None]) -> None:
        """Make a change for the state in which the object is; again, while others write to it at the same moment."""
        for attempt in range(ATTEMPTS):
            found = self._api.read()
            try:
                change(found, self._checked(_token(found)))
                return
            except Changed as error:
                if attempt == ATTEMPTS - 1:
                    raise SlipwayError(
                        f"{self._api.kind.name} {self._api.name} changes all the time: {error}"
                    ) from error
                time.sleep(PAUSE_S)

    def _checked(self, found: str) -> str:
        """The token of the next change, given that of the last."""
        self._lease.check()
        if not self._lease.held:
            return found
        if _number(found) > self._lease.transition:
            other = words(found.partition(" ")[2])
            raise SlipwayError(
                f"another rollout has taken {self._api.namespace}/{self._api.name} over ({other}); "
                "this one was cut off for too long and changes nothing any more"
            )
        return self._lease.token


def _token(found: dict[str, Any] | None) -> str:
    return str(((found or {}).get("metadata", {}).get("annotations") or {}).get(HOLDER, ""))


def _may_carry(found: dict[str, Any]) -> bool:
    """Whether a token alone changes nothing else: an InferenceService has a twin of it; other kinds have no pods."""
    predictor = found["spec"].get("predictor")
    return predictor is None or HOLDER in predictor.get("annotations", {})


def _number(token: str) -> int:
    number = token.partition(" ")[0]
    return int(number) if number.isascii() and number.isdigit() else 0


def _state(found: dict[str, Any] | None) -> str:
    return str(found["metadata"]["resourceVersion"]) if found else ABSENT
