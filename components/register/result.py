"""What the step `register` returns."""

from typing import ClassVar

from slipway.components.step_runtime.step_result import StepResult


class RegisterResult(StepResult):
    """A version of the registry, and its bundle."""

    step: ClassVar[str] = "register"

    version: str
    """The registry's version, for example `"3"`."""
    bundle_uri: str
    """Where the signed bundle is stored."""
    digest: str
    """`sha256:…` of the bundle."""
    identity: str
    """Fingerprint of the signer's public key."""
    new: bool
    """Whether the version was made now, not by an earlier run with the same draft."""
    is_champion: bool
    """Whether it is the version that serves already."""
    size_bytes: int
    """Size of all files of the bundle, in bytes."""
    files: dict[str, int]
    """Size of each file of the bundle by its name, in bytes."""
    tags: dict[str, str]
    """The version's tags in the registry: where it comes from, and its scores."""
    model_card: str
    """The model card, in Markdown."""
