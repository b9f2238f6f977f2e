"""The result of the step `register`."""

from typing import ClassVar

from slipway.components.step_runtime.step_result import StepResult


class RegisterResult(StepResult):
    """A version in the registry, and its bundle."""

    step: ClassVar[str] = "register"

    version: str
    """The registry's version, for example `"3"`."""
    bundle_uri: str
    """Path or URI of the signed bundle."""
    digest: str
    """`sha256:…` of the bundle."""
    identity: str
    """Fingerprint of the signer's public key."""
    new: bool
    """Whether this run made the version; false when an earlier run made it from the same draft."""
    is_champion: bool
    """Whether it is the version that is served already."""
    size_bytes: int
    """Size of all files of the bundle, in bytes."""
    files: dict[str, int]
    """Size of each file of the bundle by its name, in bytes."""
    tags: dict[str, str]
    """The version's tags in the registry: its lineage and its scores."""
    model_card: str
    """The model card, in Markdown."""
