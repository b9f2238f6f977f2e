"""Sentences on why a rollout ended as it did, for the decisions of the phases."""

from slipway.components.rollout.state import RolloutState


def evidence(current: RolloutState) -> str:
    """How much evidence there is about the challenger."""
    return f"{current.requests[0]} requests to it and {current.pairs.labelled} texts of the gate's test split"


def no_worse(current: RolloutState) -> str:
    """The reason for a promotion."""
    old = current.champion.version if current.champion else "none"
    return (
        f"version {current.revision.version} is shown to be no worse than version {old}, margins apart, in errors, "
        f"slow answers and accuracy, after {evidence(current)}"
    )


def worse(current: RolloutState, reason: str) -> str:
    """The reason for a rollback, after how much evidence, and how many texts the challenger failed to answer.

    Args:
        current: the state of the rollout.
        reason: the reason of the analysis.
    """
    sentence = f"version {current.revision.version} is worse, after {evidence(current)}: {reason}"
    pairs = current.pairs
    if not pairs.challenger_failed:
        return sentence
    return f"{sentence} (it failed to answer {pairs.challenger_failed} of {pairs.compared} compared texts)"
