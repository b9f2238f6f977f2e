"""Promote and roll back by hand, whatever the evidence says, on any target."""

from collections.abc import Callable
from typing import Protocol

from slipway.components.errors import BadInput, RevisionFailed, SlipwayError
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import state
from slipway.components.rollout.target import Revision, RolloutTarget

READY_TIMEOUT_S = 60.0
BY_HAND = "by hand"


class Lever(RolloutTarget, Protocol):
    """A target that also says which revision is being rolled out."""

    def challenger(self) -> Revision | None:
        """The revision of a rollout that goes on or is held."""


def promote(target: Lever, registry: Registry, revision_of: Callable[[Version], Revision]) -> str:
    """Make the challenger the champion now; returns what was done.

    The challenger is the one that is deployed (a rollout that is held, say), else the registry's.

    Args:
        target: held for this process (`lock`).
        registry: whose aliases follow.
        revision_of: makes a registered version one that the target can deploy.

    Raises:
        BadInput: there is no challenger.
        RevisionFailed: it does not answer; the champion serves as before.
    """
    revision = target.challenger()
    if revision is None:
        version = registry.challenger()
        if version is None:
            raise BadInput("there is no challenger to promote; `slipway run` makes one")
        revision = revision_of(version)
    return serve(target, registry, revision)


def rollback(target: Lever, registry: Registry, revision_of: Callable[[Version], Revision]) -> str:
    """Take the challenger out of traffic; without one, serve the version before the champion again.

    Raises:
        BadInput: there is neither a challenger nor a version before.
        RevisionFailed: the version before does not answer; the champion serves as before.
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


def repair(target: Lever, registry: Registry) -> str:
    """Make the registry's aliases say what is served, after a process died between the two; returns what was done.

    Raises:
        SlipwayError: nothing is served.
    """
    champion, challenger = target.champion(), target.challenger()
    if champion is None:
        raise SlipwayError("nothing is served, so there is nothing that the registry could agree with")
    done = []
    registered, nominated = registry.champion(), registry.challenger()
    if registered is None or registered.version != champion.version:
        registry.promote(champion.version)
        done.append(f"champion is version {champion.version}")
    if (kept := target.load_state()) and state.from_json(kept).promoted_by_hand(champion):
        target.save_state(None)
        done.append(f"the rollout of version {champion.version} is over")
    if challenger and (nominated is None or nominated.version != challenger.version):
        registry.nominate(challenger.version)
        done.append(f"challenger is version {challenger.version}")
    return f"repaired: {', '.join(done)}" if done else "the registry agrees with what is served"


def serve(target: Lever, registry: Registry, revision: Revision) -> str:
    """Give a revision all traffic, once it answers. For one that has it, the registry is told, which may have been away
    when the traffic moved.
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
