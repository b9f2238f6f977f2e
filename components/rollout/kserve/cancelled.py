"""Rolls back a rollout whose run was cancelled: its driver was killed, and its canary may still have traffic."""

from contextlib import ExitStack

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.model_registry import Registry
from slipway.components.rollout import state
from slipway.components.rollout.aliases import RegistryAliases
from slipway.components.rollout.kserve.lease import DURATION_S, RENEW_S
from slipway.components.rollout.kserve.record import Record
from slipway.components.rollout.kserve.target import KServeTarget
from slipway.components.rollout.state import Decision

REASON = "the run was cancelled"
NOTHING = "nothing was on its way"
FREE_S = DURATION_S + RENEW_S
"""Seconds until the lease of a dead driver is free, at most: its duration, and one renewal."""


def take_back(
    model_name: str, settings: ClusterSettings, registry: Registry, version: str, free_s: float = FREE_S
) -> str:
    """Roll back a version whose rollout began and did not end; return a sentence that says what was done.

    The rollout of another version, and one that another process drives, are left as they are. A second call changes
    nothing.

    Args:
        model_name: of the InferenceService.
        settings: of the cluster.
        registry: with the version.
        version: the version that the run registered.
        free_s: how long to wait for the end of a dead driver's lease, in seconds.

    Raises:
        SlipwayError: the cluster or the registry cannot be used, or a gateway does not apply the change. Another call
            continues.
    """
    target = KServeTarget(model_name, settings)
    if not _concerns(target.record(), version):
        return NOTHING
    if holder := target.wait_until_free(free_s):
        return _held(holder)
    with ExitStack() as stack:
        try:
            stack.enter_context(target.lock())
        except SlipwayError:
            if holder := target.holder():  # another driver took the lease meanwhile
                return _held(holder)
            raise
        return _end(target, RegistryAliases(registry), version)


def _concerns(current: Record, version: str) -> bool:
    """Whether the rollout of a version is in progress, or ended without deleting its state, its last act."""
    if current.challenger:
        return current.challenger.version == version
    return _state_of(current) == version


def _state_of(current: Record) -> str | None:
    """The version of the rollout whose state is saved; None without a readable state."""
    try:
        return state.from_json(current.state).revision.version if current.state else None
    except BadInput:  # another release wrote it
        return None


def _held(holder: str) -> str:
    return f"another rollout holds it ({holder}): left as it is"


def _end(target: KServeTarget, aliases: RegistryAliases, version: str) -> str:
    """End the rollout as its driver would: save the decision, move the traffic, then change the aliases."""
    current = target.record()
    if not _concerns(current, version):
        return NOTHING
    if current.challenger is None and current.champion and current.champion.version == version:
        target.promote()
        aliases.promote(version)
        target.save_state(None)
        return f"version {version} had been promoted and serves all traffic"
    if _state_of(current) == version and current.state:
        rollout = state.from_json(current.state)
        rollout.decision = Decision("rolled_back", REASON)
        target.save_state(state.to_json(rollout))
    target.rollback()
    aliases.reject(version, REASON)
    target.save_state(None)
    if current.challenger is None:
        return f"version {version} was being rolled back, which was completed"
    if current.champion is None:
        return f"version {version}, the first to be served here, had not been promoted and was removed"
    share = f"had {current.percent} % of the traffic" if current.percent else "had no traffic yet"
    return f"version {version} {share} and was rolled back"
