"""What can end a run early; each class carries the exit code of the `slipway` command."""


class SlipwayError(Exception):
    """A run failed for a reason that Slipway understands; the message says what to do."""

    exit_code = 1


class BadInput(SlipwayError):
    """Something that the user gave (data, settings, an endpoint) cannot be used as it is."""

    exit_code = 2


class GateRefused(SlipwayError):
    """The challenger did not pass the quality gate; nothing was registered."""

    exit_code = 3


class RolledBack(SlipwayError):
    """The rollout took the challenger out of traffic; the champion serves as before."""

    exit_code = 4


class BundleRefused(SlipwayError):
    """A bundle is unsigned, altered, incomplete or signed by someone else, so it is not loaded."""


class RevisionFailed(SlipwayError):
    """A deployed revision did not become ready (crash, refused bundle, port in use, time-out)."""


class RolloutHeld(SlipwayError):
    """The rollout ended without a verdict and left traffic as it was."""

    exit_code = 5


class Cancelled(SlipwayError):
    """Somebody ended the run before it was through."""

    exit_code = 6
