"""What can end a run early; each class carries the exit code of the `slipway` command."""


class SlipwayError(Exception):
    """A run failed for a reason that Slipway understands; the message says what to do."""

    exit_code = 1


class BadInput(SlipwayError):
    """Something that the user gave (data, settings, an endpoint) cannot be used as it is."""

    exit_code = 2


class AccessRefused(BadInput):
    """A model server does not answer this caller: no key or token, a wrong one, or one without the scope."""


class ModelNotFound(BadInput):
    """A model server has no model of that name."""


class NoAnswer(SlipwayError):
    """No model server answers at an address: nothing listens, the connection broke, or it took too long."""


class Unavailable(SlipwayError):
    """A model server cannot answer now: it is not ready, it drains, or it has too much to do. Ask again later."""


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
