"""The sentences that say why a rollout ended as it did."""

from slipway.components.rollout.state import RolloutState


def evidence(current: RolloutState) -> str:
    """How much was seen of the challenger."""
    return f"{current.requests[0]} requests to it and {current.pairs.labelled} compared texts"


def no_worse(current: RolloutState) -> str:
    """Why it was promoted."""
    old = current.champion.version if current.champion else "none"
    return (
        f"version {current.revision.version} is shown to be no worse than version {old}, margins apart, in errors, "
        f"slow answers, agreement and accuracy, after {evidence(current)}"
    )


def worse(current: RolloutState, reason: str) -> str:
    """What was worse, after how much evidence; and that the challenger did not answer, when that is behind it."""
    words = f"version {current.revision.version} is worse, after {evidence(current)}: {reason}"
    pairs = current.pairs
    if not pairs.challenger_failed:
        return words
    return f"{words} (it failed to answer {pairs.challenger_failed} of {pairs.compared} compared texts)"
