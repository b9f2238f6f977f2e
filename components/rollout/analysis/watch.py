"""Judges the challenger while it has all traffic, when there is no champion beside it to compare it with.

The reference is what the champion did earlier in the rollout. Times differ, so more is asked for than in a step:

errors    the challenger's share of failed requests lies above the champion's by more than the margin, bounds and all
slow      in more than a third of the windows, the share of slow answers lies above the champion's by more than that.
          The unit is the window, since a busy spell of the machine slows all answers of some seconds together

Both bounds hold at every look (`slipway.components.rollout.analysis.bounds`). Each metric has half of the watch's part
of alpha, and each side of the errors half of that.
"""

from dataclasses import dataclass, replace

from slipway.components.rollout.analysis.bounds import is_above, lower_bound, upper_bound
from slipway.components.rollout.analysis.difference import Comparison

BINARY = (0.0, 1.0)
"""Values of an answer or a window: good, bad."""
SPELLS = 1 / 3
"""Part of the windows that may be slow by busy spells of one process."""


@dataclass(frozen=True)
class Watch:
    """What the challenger did with all traffic. It is immutable; `updated` returns the next one."""

    requests: int = 0
    """Requests to the challenger."""
    failed: int = 0
    """Failed ones among them."""
    answers: int = 0
    """Answers with a latency, in the present window."""
    slow: int = 0
    """Slow ones among them."""
    windows: int = 0
    """Windows that ended."""
    slow_windows: int = 0
    """Windows among them with more slow answers than the champion had, by more than the margin."""

    def updated(self, failed: tuple[int, int], slow: tuple[int, int], limit: float, whole: bool) -> "Watch":
        """The watch after one more look.

        Args:
            failed: (requests, failed ones) since the last look.
            slow: (answers, slow ones) since the last look.
            limit: the share of slow answers from which a window is slow.
            whole: whether the window ends with this look.
        """
        answers, late = self.answers + slow[0], self.slow + slow[1]
        now = replace(self, requests=self.requests + failed[0], failed=self.failed + failed[1])
        if not whole or not answers:
            return replace(now, answers=answers, slow=late)
        windows, slow_windows = self.windows + 1, self.slow_windows + (late > limit * answers)
        return replace(now, answers=0, slow=0, windows=windows, slow_windows=slow_windows)


def usual_share(compared: Comparison) -> float:
    """The champion's share of bad answers in the whole rollout; 0 without any."""
    answers, bad = compared.before[1] + compared.sums[0], compared.before[0] + compared.sums[1]
    return float(bad / answers) if answers else 0.0


def harm_of(watch: Watch, errors: Comparison, margin: float, alpha: float) -> str | None:
    """The reason to roll back, as a sentence, or None.

    Args:
        watch: what the challenger did.
        errors: the comparison of failed requests, whose champion is the reference.
        margin: of errors.
        alpha: the probability of a false rollback.
    """
    answered, bad = float(errors.before[1] + errors.sums[0]), float(errors.before[0] + errors.sums[1])
    usual = float(upper_bound((answered - bad, bad), BINARY, alpha / 4))
    lowest = float(lower_bound((watch.requests - watch.failed, watch.failed), BINARY, alpha / 4))
    if lowest > usual + margin:
        counts = f"{watch.failed} of {watch.requests} ({100 * watch.failed / watch.requests:.1f}%)"
        return f"errors with all traffic: {counts}, the champion had {bad:.0f} of {answered:.0f} before"
    if is_above((watch.windows - watch.slow_windows, watch.slow_windows), SPELLS, alpha / 2):
        return f"slow answers with all traffic: in {watch.slow_windows} of {watch.windows} windows more than before"
    return None
