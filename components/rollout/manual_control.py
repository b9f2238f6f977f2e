"""Promotes and rolls back by hand, on any target and without evidence, for the `slipway` command."""

from collections.abc import Callable
from typing import Protocol

from slipway.components.errors import BadInput, RevisionFailed, SlipwayError
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import state
from slipway.components.rollout.target import Revision, RolloutTarget

READY_TIMEOUT_S = 60.0
BY_HAND = "by hand"


class ManualTarget(RolloutTarget, Protocol):
    """A target that also knows which revision is being rolled out."""

    def challenger(self) -> Revision | None:
        """The revision of a rollout that is in progress or held."""


def promote(target: ManualTarget, registry: Registry, revision_of: Callable[[Version], Revision]) -> str:
    """Make the challenger the champion now; return a sentence that says what was done.

    The challenger is the deployed one, for example that of a rollout that is held. Without one it is the registry's.

    Args:
        target: locked for this process (`lock`).
        registry: its aliases change after the traffic.
        revision_of: turns a registered version into a revision that the target can deploy.

    Raises:
        BadInput: there is no challenger.
        RevisionFailed: the challenger does not answer; the champion serves as before.
    """
    revision = target.challenger()
    if revision is None:
        version = registry.challenger()
        if version is None:
            raise BadInput("there is no challenger to promote; `slipway run` makes one")
        revision = revision_of(version)
    return serve(target, registry, revision)


def rollback(target: ManualTarget, registry: Registry, revision_of: Callable[[Version], Revision]) -> str:
    """Take the challenger out of traffic; without a challenger, serve the previous champion again.

    Arguments and result are those of `promote`.

    Raises:
        BadInput: there is neither a challenger nor a previous champion.
        RevisionFailed: the previous champion does not answer; the present one serves as before.
    """
    challenger = target.challenger()
    if challenger is None:
        previous = registry.previous()
        if previous is None:
            raise BadInput("there is no challenger to roll back, and no version before the champion to go back to")
        return serve(target, registry, revision_of(previous))
    target.rollback()
    registry.reject(challenger.version, f"rolled back {BY_HAND}")
    target.save_state(None)
    champion = target.champion()
    serving = f"version {champion.version} serves all traffic" if champion else "nothing is served"
    return f"version {challenger.version} was rolled back; {serving}"


def repair(target: ManualTarget, registry: Registry) -> str:
    """Make the registry's aliases agree with what is served; return a sentence that says what was done.

    They differ after a process died between moving the traffic and changing the aliases. What is served decides.

    Raises:
        SlipwayError: nothing is served.
    """
    champion, challenger = target.champion(), target.challenger()
    if champion is None:
        raise SlipwayError("nothing is served, so there is nothing that the registry could agree with")
    changes = []
    registered, nominated = registry.champion(), registry.challenger()
    if registered is None or registered.version != champion.version:
        registry.promote(champion.version)
        changes.append(f"champion is version {champion.version}")
    if (saved := target.load_state()) and state.from_json(saved).promoted_by_hand(champion):
        target.save_state(None)
        changes.append(f"the rollout of version {champion.version} is over")
    if challenger and (nominated is None or nominated.version != challenger.version):
        registry.nominate(challenger.version)
        changes.append(f"challenger is version {challenger.version}")
    return f"repaired: {', '.join(changes)}" if changes else "the registry agrees with what is served"


def serve(target: ManualTarget, registry: Registry, revision: Revision) -> str:
    """Give a revision all traffic once it answers; return a sentence that says what was done.

    A revision that has all traffic already still gets its alias, since the registry may have been unreachable when the
    traffic moved.

    Raises:
        RevisionFailed: the revision does not answer; the champion serves as before.
    """
    before = target.champion()
    if before != revision:
        try:
            target.deploy(revision)
            target.wait_ready(revision, READY_TIMEOUT_S)
            target.promote()
        except RevisionFailed:
            target.rollback()
            raise
    registry.promote(revision.version)
    target.save_state(None)
    replaced = f", in place of version {before.version}" if before and before != revision else ""
    return f"version {revision.version} serves all traffic{replaced}"
